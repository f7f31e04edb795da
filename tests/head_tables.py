"""Made-up tables of heads, relations and attention curves for tests of the explorer."""

import itertools
import json

import numpy as np
import pandas as pd

from atlas.analyses.registry import TABLES

RELATIONS = {"country_to_capital": "Knowledge", "copying": "Algorithmic", "english_to_french": "Translation"}
OPTIONS = {
    "salient": 2,
    "metrics": ["score", "alpha_natural", "meaningless_effect", "saliency_absolute", "ships_scaling"],
    "relations": 2, "curves": 1000, "docs": None, "claims": False, "min_prompts": 5,
    "datasets": {"head_categories": "rel", "sinks": "text", "meaningless_tokens": "math", "safety_heads": "harm"},
    "dataset_labels": {"rel": "R data", "text": "T data", "math": "M data", "harm": "H data"},
}  # fmt: skip


def tables(models=("one", "two"), layers=5, heads=4, positions=12, seed=0):
    """{name: frame} of heads, head_relations and attention_weights; the second model has no safety heads."""
    rng = np.random.default_rng(seed)
    keys = list(itertools.product(models, range(layers), range(heads)))
    frame = pd.DataFrame(keys, columns=["model", "layer", "head"])
    count = len(frame)
    relations = pd.DataFrame(
        [
            (*key, "rel", name, category, sign)
            for key in keys
            for name, category in RELATIONS.items()
            for sign in ("direct", "suppression")
        ],
        columns=["model", "layer", "head", "dataset", "relation", "category", "sign"],
    ).assign(k=10, null_mean=0.0, null_sd=0.1, p=0.5, pairs=50)
    relations["score"] = np.maximum(0, rng.normal(0.05, 0.2, len(relations)))
    relations["q"] = rng.random(len(relations))
    best = relations.loc[relations.groupby(["model", "layer", "head"], sort=False)["score"].idxmax()]
    frame = frame.reindex(columns=list(TABLES["heads"]))
    labels = np.where(best["score"] > 0.15, best["category"], "Unclassified")
    frame = frame.assign(label=labels, label_null=labels, score=best["score"].to_numpy())
    frame = frame.assign(relation=best["relation"].to_numpy(), relation_sign=best["sign"].to_numpy())
    frame["alpha_natural"] = rng.random(count)
    frame["meaningless_effect"] = rng.normal(size=count)
    safe = frame["model"] == models[0]
    frame.loc[safe, "ships_scaling"] = rng.random(safe.sum())
    curves = pd.DataFrame(
        [
            (model, condition, layer, head, position)
            for condition in ("without", "with")
            for model, layer, head in keys
            for position in range(positions)
        ],
        columns=["model", "condition", "layer", "head", "aligned_position"],
    )
    curves = curves.assign(
        dataset="math", position=curves["aligned_position"], token="", in_span=False,
        weight=rng.random(len(curves)),
        weight_low=0.0, weight_high=1.0, reading="x",
        prompts=np.where(curves["aligned_position"] < positions - 2, 9, 3),
    )  # fmt: skip
    found = {"heads": frame, "head_relations": relations, "attention_weights": curves}
    return {name: table[list(TABLES[name])].astype(TABLES[name]) for name, table in found.items()}


def options(models=("one", "two"), **changes):
    return {**OPTIONS, "models": list(models), "model_labels": {key: f"Model {key}" for key in models}, **changes}


def operations():
    """Two tokens of every head of model "one" but the first, whose layer has no attention."""
    rows = []
    for layer, head in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for rank, sign in ((rank, sign) for rank in (1, 2, 3) for sign in ("direct", "suppression")):
            own = {"model": "one", "dataset": "rel", "layer": layer, "head": head, "rank": rank, "sign": sign}
            texts = [f" {sign}{rank}{layer}{head}", "</script>", "é"]
            blank = (layer, head) == (0, 0)
            rows.append({
                **own, "source": None if blank else f" word{rank}", "source_id": None if blank else rank,
                "ratio": np.nan if blank else 4.0 - rank, "mapped": None if blank else json.dumps(texts),
                "logits": None if blank else "[3.0, 2.0, 1.0]",
            })  # fmt: skip
    return pd.DataFrame(rows)
