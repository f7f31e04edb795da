"""What this analysis says of single heads: its columns of the table heads, and the measures among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.analyses.by_head import Measure, by_head, chosen_rows

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Meaningless tokens"
COLUMNS = {
    "meaningless_dataset": "str",
    "meaningless_effect": "float64",
    "meaningless_low": "float64",
    "meaningless_high": "float64",
    "span_mass": "float64",
}
MEASURES = {
    "meaningless_effect": Measure("meaningless drop", "relative change", -1, True, "meaningless effect"),
    "span_mass": Measure("span mass", "share of attention"),
}
# Columns that the explorer lists for one head.
SHOWN = ("meaningless_effect", "meaningless_low", "meaningless_high", "span_mass")
# What they and the measures are, and the page of docs/ that says more.
DEFINITIONS = {
    "meaningless_effect": "(W - W₀) / W₀: change of the mean attention on the question with the meaningless span.",
    "meaningless_low": "Lower end of its bootstrap interval over prompts.",
    "meaningless_high": "Upper end of its bootstrap interval over prompts.",
    "span_mass": "Mean attention of the question's positions on the meaningless span.",
}
PAGE = "meaningless_tokens"
_NAMES = {
    "effect": "meaningless_effect",
    "effect_low": "meaningless_low",
    "effect_high": "meaningless_high",
    "span_mass": "span_mass",
}


def columns(tables: Mapping[str, pd.DataFrame], dataset: str, choice: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS by (model, layer, head)."""
    frame = by_head(chosen_rows(tables, "meaningless_effect", dataset), "meaningless_effect")
    return frame[list(_NAMES)].rename(columns=_NAMES).assign(meaningless_dataset=dataset)
