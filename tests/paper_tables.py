"""Made-up tables of the models of configs/paper.yaml in their published shapes, spread as the sources' figures are.

Values are drawn so that every published range is filled; none is a result.
"""

import numpy as np
import pandas as pd

from atlas.analyses.registry import TABLES
from made_tables import tables_of
from paper_models import SHAPES

# What is read off the sources' figures: scale of saliency, medians of Min-K% by depth, spread of score gaps.
SALIENCY = {"llama-3-8b": 0.12, "llama-3-70b": 0.015}
MEDIANS = {
    "llama-2-7b-chat": (3.0, 3.5, 4.5), "llama-2-70b-chat": (2.5, 3.5, 4.0), "llama-3-8b-instruct": (3.0, 3.5, 4.0),
    "llama-3-70b-instruct": (2.5, 3.0, 3.5),
}  # fmt: skip
SPREAD = {"llama-2-7b-chat": 0.5, "llama-2-70b-chat": 0.32, "llama-3-8b-instruct": 0.25, "llama-3-70b-instruct": 0.15}
ANALYSES = ("saliency", "mink", "head_categories", "meaningless_tokens", "safety_heads")
PREFIX, SPAN, QUESTION = 18, 55, 42  # tokens of a prompt: before the span, in it, behind it


def paper_tables(config):
    """({table: frame}, {table: {path: document}}) of the five analyses of the checked configuration."""
    frames, documents = {}, {}
    shown = [(analysis, model) for analysis in ANALYSES for model in config["analyses"][analysis]["models"]]
    for seed, (analysis, model) in enumerate(shown):
        shape, alone = SHAPES[model], {**config, "models": {model: config["models"][model]}}
        layers = 4 if analysis == "saliency" else shape["layers"]  # no figure of it here shows single layers
        made, said = tables_of(alone, layers, shape["heads"], seed, [analysis])
        for name, frame in made.items():
            frames.setdefault(name, []).append(frame)
            documents.setdefault(name, {}).update(said[name])
    frames = {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}
    rng = np.random.default_rng(0)
    _spread_saliency(frames["saliency"])
    _spread_mink(frames, rng)
    frames["attention_weights"] = _weights(config, rng)
    heads = frames["safety_heads"]
    part = heads["ablation"].map({"undifferentiated": 70, "scaling": 20}) / 100
    heads["ships_degrees"] = heads["ships_degrees"].clip(upper=100) * part
    return frames, documents


def _spread_saliency(frame):
    frame["saliency"] *= frame["model"].map(SALIENCY).fillna(1)


def _spread_mink(frames, rng):
    mink, trend, gaps = frames["mink"], frames["mink_trend"], frames["score_gap"]
    for model, medians in MEDIANS.items():
        for depth, median in enumerate(medians, 1):
            rows = (mink["model"] == model) & (mink["depth"] == depth)
            mink.loc[rows, "mink"] = rng.gamma(12, median / 11.67, rows.sum())
    # The pinned file names no predecessors, and so has no gaps.
    trend.loc[trend["dataset"] == "depthqa", "predecessors"] = 0
    frames["score_gap"] = gaps = gaps[gaps["dataset"] != "depthqa"].reset_index(drop=True)
    many = pd.concat([gaps] * 3, ignore_index=True)
    many["gap"] = rng.normal(0, 1, len(many)) * many["model"].map(SPREAD).fillna(1)
    frames["score_gap"] = many


def _weights(config, rng):
    """Weights of the heads of layer 0 for prompts of PREFIX + QUESTION tokens, without and with SPAN between them."""
    parts = []
    for model in config["analyses"]["meaningless_tokens"]["models"]:
        for head in range(SHAPES[model]["heads"]):
            for condition, span in (("without", 0), ("with", SPAN)):
                position = np.arange(PREFIX + span + QUESTION)
                inside = (position >= PREFIX) & (position < PREFIX + span)
                aligned = pd.array(np.where(position < PREFIX, position, position - span), "Int32")
                weight = 0.02 * rng.gamma(3, 0.5, len(position)) * np.where(inside, 0.1, 1 - 0.2 * (span > 0))
                parts.append(
                    pd.DataFrame({"position": position, "in_span": inside, "weight": weight}).assign(
                        aligned_position=aligned, model=model, dataset="math-500", layer=0, head=head, token="",
                        condition=condition, weight_low=0.9 * weight, weight_high=1.1 * weight, prompts=500,
                        reading="drop_columns",
                    )
                )  # fmt: skip
                parts[-1].loc[inside, "aligned_position"] = pd.NA
    columns = TABLES["attention_weights"]
    return pd.concat(parts, ignore_index=True)[list(columns)].astype(columns)
