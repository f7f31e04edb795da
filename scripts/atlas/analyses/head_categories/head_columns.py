"""What this analysis says of single heads: its columns of the table heads, and the measures among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from atlas.analyses.by_head import KEYS, Measure, by_head, chosen_rows

if TYPE_CHECKING:
    import pandas as pd

TITLE = "Head categories"
COLUMNS = {
    "relations_dataset": "str",
    "label": "str",
    "label_null": "str",
    "relation": "str",
    "relation_sign": "str",
    "score": "float64",
    "score_direct": "float64",
    "q_direct": "float64",
    "score_suppression": "float64",
    "q_suppression": "float64",
}
MEASURES = {"score": Measure("relation φ", "share of pairs")}
# Columns that the explorer lists for one head.
SHOWN = ("score", "score_direct", "q_direct", "score_suppression", "q_suppression")
# What they and the measures are, and the page of docs/ that says more.
DEFINITIONS = {
    "score": (
        "φ: share of a relation's pairs whose target is among the k tokens that the head's weights raise most for the "
        "source (lower most: suppression), of the relation and sign where it is highest."
    ),
    "score_direct": "φ of that relation where raised targets count.",
    "q_direct": "Benjamini-Hochberg q of that φ, against targets shuffled among sources.",
    "score_suppression": "φ of that relation where lowered targets count.",
    "q_suppression": "Benjamini-Hochberg q of that φ, against targets shuffled among sources.",
}
PAGE = "head_categories"
_SIGNS = ("direct", "suppression")


def columns(tables: Mapping[str, pd.DataFrame], dataset: str, choice: Mapping[str, Any]) -> pd.DataFrame:
    """COLUMNS by (model, layer, head): labels, and the best relation of every head."""
    categories = chosen_rows(tables, "head_categories", dataset).dropna(subset="label")
    wide = categories.pivot(index=KEYS, columns="significance", values="label")
    labels = wide.rename(columns={"tau": "label", "tau_and_null": "label_null"}).assign(relations_dataset=dataset)
    relations = chosen_rows(tables, "head_relations", dataset).dropna(subset="score")
    return labels.join(_best_relations(relations), how="outer")


def _best_relations(relations: pd.DataFrame) -> pd.DataFrame:
    """The relation with the highest score in either sign, and its score and q in both signs.

    Equal scores: the smaller q, then the order of the alphabet, direct before suppression. A head that scores 0 on
    everything has no best relation, only its scores of 0 and q of 1.
    """
    relations = relations.assign(below=-relations["score"])
    order = relations.sort_values([*KEYS, "below", "q", "relation", "sign"])
    best = by_head(order.drop_duplicates(KEYS), "head_relations")
    found = best[["relation", "score"]].assign(relation_sign=best["sign"])
    relations = relations.set_index([*KEYS, "relation"])
    for sign in _SIGNS:
        own = relations.loc[relations["sign"] == sign, ["score", "q"]]
        own = own.reindex(best.set_index("relation", append=True).index).droplevel("relation")
        found[[f"score_{sign}", f"q_{sign}"]] = own
    return found.assign(**{name: found[name].where(found["score"] > 0) for name in ("relation", "relation_sign")})
