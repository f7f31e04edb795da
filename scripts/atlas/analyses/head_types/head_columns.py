"""What this analysis says of single heads: its columns of the table heads, and the measures among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.analyses.by_head import Measure, by_head, chosen_rows
from atlas.analyses.head_types.scores import TYPES

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Standard head types"
COLUMNS = {"head_types_dataset": "str", "head_types_bos": "boolean", **dict.fromkeys(TYPES, "float64")}
MEASURES = {
    "previous_token": Measure("previous token", "share of attention"),
    "duplicate_token": Measure("duplicate token", "share of attention"),
    "induction": Measure("induction", "share of attention"),
}
# Columns that the explorer lists for one head.
SHOWN = TYPES
# What they and the measures are, and the page of docs/ that says more.
DEFINITIONS = {
    "previous_token": "Mean attention of the second copy of random tokens on the position before.",
    "duplicate_token": "Mean attention of the second copy of random tokens on the same token in the first.",
    "induction": (
        "Mean attention of the second copy of random tokens on the token behind the same one in the first: the one "
        "that comes next."
    ),
}
PAGE = "head_types"


def columns(tables: Mapping[str, pd.DataFrame], dataset: str, choice: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS by (model, layer, head)."""
    found = by_head(chosen_rows(tables, "head_types", dataset), "head_types")
    return found[list(TYPES)].assign(head_types_dataset=dataset, head_types_bos=found["bos"])
