"""What this analysis says of single heads: its columns of the table heads, and the measures among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.analyses.by_head import Measure, by_head, chosen_rows

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Question-to-answer saliency"
COLUMNS = {
    "saliency_dataset": "str",
    "saliency_loss": "str",
    "saliency_signed": "float64",
    "saliency_absolute": "float64",
    "saliency_share": "float64",
}
MEASURES = {
    "saliency_signed": Measure("saliency, signed", "per sample", 1, True),
    "saliency_absolute": Measure("saliency", "per sample"),
    "saliency_share": Measure("saliency, share", "share of all heads"),
}
# Columns that the explorer lists for one head.
SHOWN = ("saliency_signed", "saliency_absolute", "saliency_share")
# What they and the measures are, and the page of docs/ that says more.
DEFINITIONS = {
    "saliency_signed": (
        "Attention times the gradient of the loss by it, summed over pairs of a token of the exact answer and one of "
        "the exact question, mean over answers."
    ),
    "saliency_absolute": "The same with the absolute value of each summand.",
    "saliency_share": "saliency_absolute as a share of its sum over all heads of the model.",
}
PAGE = "saliency"
_FLOW = "question_to_answer"


def columns(tables: Mapping[str, pd.DataFrame], dataset: str, choice: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS by (model, layer, head): flow from question to answer; share: of the flow through all of a model's heads.

    choice: `loss`, one of analyses.saliency.loss.
    """
    loss = choice["loss"]
    rows = chosen_rows(tables, "head_saliency", dataset, flow=_FLOW, loss=loss).dropna(subset="absolute")
    frame = by_head(rows, "head_saliency")[["signed", "absolute"]].add_prefix("saliency_")
    share = frame["saliency_absolute"] / frame.groupby("model")["saliency_absolute"].transform("sum")
    return frame.assign(saliency_share=share, saliency_dataset=dataset, saliency_loss=loss)
