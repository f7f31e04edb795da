"""The claims of the sources as a table of the explorer's page: claims down, models across."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from atlas.percent import percent

if TYPE_CHECKING:
    import pandas as pd

# A verdict's sign stands beside its word, so that no colour is needed.
SIGNS = {"holds": "●", "does not hold": "✕", "undecided": "◐", "not applicable": "–"}


def claims_section(claims: pd.DataFrame | None, labels: Mapping[str, str]) -> str:
    """HTML of the table `claims` for the models of `labels` {key: label}; empty where claims are switched off.

    One line per claim and data set; a cell has the verdict, the values that decide it with their intervals, and why
    where there is none.
    """
    if claims is None or claims.empty:
        return ""
    shown = claims[claims["decides"] & claims["model"].isin(list(labels))]
    head = "".join(f'<th scope="col" dir="auto">{escape(label)}</th>' for label in labels.values())
    lines = []
    for claim, own in sorted(shown.groupby("claim", sort=False), key=lambda pair: pair[0]):
        named = [dataset for dataset in dict.fromkeys(own["dataset"]) if dataset] or [""]
        for dataset in named:
            cells = "".join(f"<td>{_cell(own, model, dataset)}</td>" for model in labels)
            where = f" ({escape(dataset)})" if dataset else ""
            lines.append(
                f'<tr><th scope="row">{escape(claim)}</th><td>{escape(own["says"].iloc[0])}{where}</td>{cells}</tr>'
            )
    return (
        '<section id="claims" aria-label="Claims of the sources"><h2>What the sources claim</h2>'
        f"<p>Verdicts follow from {percent(shown['confidence'].max())} intervals against stated thresholds, corrected "
        "for their number; compare the control first. The table <code>claims</code> has every part, q and n.</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="Claims, scrolls sideways">'
        '<table><thead><tr><th scope="col">claim</th><th scope="col">it says</th>'
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _cell(own: pd.DataFrame, model: str, dataset: str) -> str:
    """What one model has for a claim: of this data set, or of none where the claim cannot be put to it at all."""
    rows = own[own["model"] == model]
    found = next((part for of in (dataset, "") if not (part := rows[rows["dataset"] == of]).empty), None)
    if found is None:
        return ""
    verdict = str(found["claim_verdict"].iloc[0])
    lines = [f"{SIGNS[verdict]} {escape(verdict)}"]
    for row in found.itertuples():
        if np.isfinite(row.value):
            lines.append(f"{escape(row.part)}: {row.value:.3g} [{row.low:.3g}, {row.high:.3g}]")
        elif row.reason:
            lines.append(escape(row.reason))
    return "<br>".join(dict.fromkeys(lines))
