"""Claims on tiny models in which they are true, or false, by their weights: from the model to the verdict."""

import numpy as np
import pandas as pd
import pytest
import torch

import planted_claims as planted
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_categories.metrics import categories_table, relation_scores
from atlas.analyses.sinks.extract import column_means
from atlas.analyses.sinks.metrics import rates_table
from planted_weights import looking, silent, uniform

LAYERS = 8
# relation -> (its category, tokens of its sources, tokens of its targets)
RELATIONS = {
    "capital": ("Knowledge", range(10, 18), range(30, 38)), "letter": ("Algorithmic", range(50, 58), range(70, 78)),
    "tense": ("Linguistic", range(90, 98), range(110, 118)),
}  # fmt: skip
ABOVE = {"letter": (0, 1), "capital": (4, 5), "tense": (6, 7)}
BELOW = {"letter": (6, 7), "capital": (0, 1), "tense": (2, 3)}


# ------------------------------------------------------------------------------------------------------------- sinks
SINK = 5


def with_sinks():
    """Every head of every layer looks at the token SINK alone, wherever it is."""
    return looking(silent(4), {SINK: 3.0}, 30.0)


def rates(model, sequences, length=32):
    """The table sink_rates of texts that begin with SINK, and of that token alone."""
    ids = np.random.default_rng(0).integers(6, 190, (sequences, length))
    ids[:, 0] = SINK
    kinds = {"natural": ids, "repeated": np.full_like(ids, SINK)}
    arrays = {f"{kind}.alpha": column_means(model, given, batch_tokens=512)["alpha"] for kind, given in kinds.items()}
    options = {"epsilon": 0.3, "confidence": 0.95, "bootstrap": 200, "seed": 0}
    return rates_table(arrays, {"model": "own", "dataset": "d"}, dict.fromkeys(kinds, 0), options).assign(bos=False)


@pytest.mark.parametrize(
    ("model", "sequences", "verdict"),
    [(with_sinks, 20, "holds"), (lambda: uniform(silent(4)), 20, "does not hold"), (with_sinks, 4, "undecided")],
)
def test_sinks_of_the_weights(model, sequences, verdict, tmp_path):
    frame = planted.verdicts(tmp_path, {("own", "sink_rates"): rates(model(), sequences)})
    assert set(frame.loc[frame["claim"] == "D4", "claim_verdict"]) == {verdict}


# -------------------------------------------------------------------------------------------------------- categories
def labels(folder, model):
    """The table head_categories of a model, from its weights."""
    model.save_pretrained(folder)
    pairs = pd.concat(
        [
            pd.DataFrame({"relation": name, "category": category, "source_id": sources, "target_id": targets})
            for name, (category, sources, targets) in RELATIONS.items()
        ],
        ignore_index=True,
    )
    layers = list(range(len(model.model.layers)))
    ranks = map_heads(folder, pairs, layers, first_mlp=False, k_max=2, dtype="float64", threads=1)
    scores = relation_scores(ranks, pairs, dict.fromkeys(RELATIONS, 1), draws=1000)
    return categories_table(scores, tau=0.15, alpha=0.05, draws=1000)


def with_heads(places):
    """Every head of the layers of a relation maps its sources to its targets; all others write nothing.

    Heads of several relations have as many pairs of each as their width allows.
    """
    model = silent(LAYERS)
    unembedding, embedding = model.lm_head.weight.data, model.model.embed_tokens.weight.data
    unembedding /= unembedding.norm(dim=1, keepdim=True)
    for number, layer in enumerate(model.model.layers):
        here = [RELATIONS[name] for name, layers in places.items() if number in layers]
        if not here:
            continue
        attention = layer.self_attn
        each = attention.head_dim // len(here)
        sources, targets = ([token for one in here for token in one[place][:each]] for place in (1, 2))
        codes = torch.linalg.pinv(embedding[sources]).T
        attention.v_proj.weight.data[:] = codes.repeat(2, 1)
        attention.o_proj.weight.data[:] = unembedding[targets].T.repeat(1, 6)
    return model


@pytest.mark.parametrize(("verdict", "places"), [("holds", ABOVE), ("does not hold", BELOW), ("undecided", {})])
def test_heads_of_the_weights(verdict, places, tmp_path):
    own = labels(tmp_path / "own", with_heads(places))
    # A control in which nothing was learnt must have many heads to say so.
    controls = {"holds": silent(16), "does not hold": with_heads(places), "undecided": silent(1)}
    found = {
        ("own", "head_categories"): own,
        ("control", "head_categories"): labels(tmp_path / "control", controls[verdict]),
    }
    frame = planted.verdicts(tmp_path / "tables", found).drop_duplicates("claim").set_index("claim")
    for claim in ("C2", "C3", "C4", "C5"):
        assert frame.loc[claim, "claim_verdict"] == verdict, frame.loc[claim]


@pytest.mark.parametrize(
    ("verdict", "places"),
    [
        ("holds", ABOVE),
        ("does not hold", {"letter": (2, 3), "capital": (2, 3, 4), "tense": (6,)}),
        ("undecided", {"letter": (0,)}),
    ],
)
def test_heads_of_several_categories(verdict, places, tmp_path):
    found = {("own", "head_categories"): labels(tmp_path / "own", with_heads(places))}
    frame = planted.verdicts(tmp_path / "tables", found).drop_duplicates("claim").set_index("claim")
    assert frame.loc["C1", "claim_verdict"] == verdict, frame.loc["C1"]
