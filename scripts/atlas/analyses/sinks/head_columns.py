"""What this analysis says of single heads: its columns of the table heads, and the measures among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.analyses.by_head import KEYS, Measure, chosen_rows

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Attention sinks"
_TEXTS = {"natural": "natural text", "random": "random token ids", "repeated": "one token id repeated"}
_INPUTS = tuple(_TEXTS)
COLUMNS = {
    "sinks_dataset": "str",
    "epsilon": "float64",
    "sinks_bos": "boolean",
    **{
        f"{name}_{kind}": dtype
        for kind in _INPUTS
        for name, dtype in (("alpha", "float64"), ("sink", "boolean"), ("sink_rate", "float64"))
    },
}
MEASURES = {
    "alpha_natural": Measure("sink α₀", "share of attention"),
    "alpha_random": Measure("sink α₀, random ids", "share of attention"),
    "alpha_repeated": Measure("sink α₀, one id", "share of attention"),
}
# Columns that the explorer lists for one head.
SHOWN = tuple(f"{name}_{kind}" for kind in _INPUTS for name in ("alpha", "sink_rate"))
# What they and the measures are, and the page of docs/ that says more.
DEFINITIONS = {
    **{
        f"alpha_{kind}": f"Mean attention on the first position over all positions of a sequence of {text}."
        for kind, text in _TEXTS.items()
    },
    **{
        f"sink_rate_{kind}": f"Share of sequences of {text} whose mean attention on the first is above epsilon."
        for kind, text in _TEXTS.items()
    },
}
PAGE = "attention_sinks"


def columns(tables: Mapping[str, pd.DataFrame], dataset: str, choice: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS by (model, layer, head), for the kinds of input that were run."""
    sinks = chosen_rows(tables, "sinks", dataset)
    above = (sinks["alpha"] > sinks["epsilon"]).astype("boolean")
    sinks = sinks.assign(sink=above.mask(sinks["alpha"].isna()))
    wide = sinks.pivot(index=KEYS, columns="input", values=["alpha", "sink", "sink_rate"])
    wide.columns = [f"{value}_{kind}" for value, kind in wide.columns]
    return wide.assign(sinks_dataset=dataset, epsilon=sinks["epsilon"].iloc[0], sinks_bos=sinks["bos"].iloc[0])
