"""What this analysis says of single heads: its columns of the table heads, and the measures among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.analyses.by_head import KEYS, Measure, chosen_rows

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Safety heads"
_NAMES = {"ships_degrees": "ships", "kl_mean": "kl", "position": "position"}
_TYPES = {"ships": "float64", "kl": "float64", "position": "Int32"}
_ABLATIONS = {
    "undifferentiated": "the mean of all values that it sees",
    "scaling": "epsilon times itself",
    "mean": "its mean over all prompts",
}
_ALWAYS = ("undifferentiated", "scaling")
COLUMNS = {
    "safety_dataset": "str",
    "ships_rank": "Int32",
    **{f"{name}_{ablation}": dtype for ablation in _ALWAYS for name, dtype in _TYPES.items()},
}
MEASURES = {
    "ships_undifferentiated": Measure("Ships, undiff.", "degrees"),
    "ships_scaling": Measure("Ships, scaling", "degrees"),
    "ships_mean": Measure("Ships, mean", "degrees"),
    "kl_undifferentiated": Measure("KL, undiff.", "nats"),
    "kl_scaling": Measure("KL, scaling", "nats"),
    "kl_mean": Measure("KL, mean", "nats"),
}
# Columns that the explorer lists for one head.
SHOWN = tuple(f"{name}_{ablation}" for ablation in (*_ALWAYS, "mean") for name in ("ships", "kl"))
# What they and the measures are, and the page of docs/ that says more.
DEFINITIONS = {
    **{
        f"ships_{ablation}": (
            "Generalized Ships: angle by which the states of harmful prompts turn together when the head's output "
            f"becomes {becomes}."
        )
        for ablation, becomes in _ABLATIONS.items()
    },
    **{
        f"kl_{ablation}": (
            "Mean KL divergence of the next token's distribution behind harmful prompts when the head's output "
            f"becomes {becomes}."
        )
        for ablation, becomes in _ABLATIONS.items()
    },
}
PAGE = "safety_heads"


def more_columns(block: Mapping[str, Any]) -> dict[str, str]:
    """Columns beyond COLUMNS that the options of this analysis (its block) call for: ablations that few run."""
    extra = [ablation for ablation in block["ablations"] if ablation not in _ALWAYS]
    return {f"{name}_{ablation}": dtype for ablation in extra for name, dtype in _TYPES.items()}


def columns(tables: Mapping[str, pd.DataFrame], dataset: str, choice: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS by (model, layer, head), for the ablations that were run. choice: `rank` of Ships."""
    rank = choice["rank"]
    heads = chosen_rows(tables, "safety_heads", dataset, rank=rank)
    wide = heads.pivot(index=KEYS, columns="ablation", values=list(_NAMES))
    wide.columns = [f"{_NAMES[value]}_{ablation}" for value, ablation in wide.columns]
    return wide.assign(safety_dataset=dataset, ships_rank=rank)
