"""The claim of Gu et al. 2025 (arXiv 2410.10781), measured on the table sink_rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.claims.measured import Measured, NotApplicable, of_interval

if TYPE_CHECKING:
    import pandas as pd

    from atlas.analyses.claims.evidence import Evidence


def sinks_on_text_alone(evidence: Evidence) -> dict[str, Measured | Exception]:
    """D4."""
    found: dict[str, Measured | Exception] = {}
    for kind in ("natural", "repeated"):
        try:
            row = _whole(evidence, kind)
        except NotApplicable as missing:
            found[kind] = missing
            continue
        if kind == "repeated" and row["bos"]:
            found[kind] = NotApplicable("the sequences begin with another token (analyses.sinks.bos)")
            continue
        found[kind] = of_interval(
            row["rate"],
            row["rate_low"],
            row["rate_high"],
            confidence=evidence.confidence,
            own=evidence.options["confidence"],
            n=int(row["sequences"]),
            unit="sequences",
            effect=2 * (np.arcsin(np.sqrt(row["rate"])) - np.arcsin(np.sqrt(0.5))),
            effect_kind="Cohen's h from one half",
        )
    return found


def rate(evidence: Evidence, *, input: str) -> float:
    """The sink rate over all layers on one kind of input."""
    return float(_whole(evidence, input)["rate"])


def _whole(evidence: Evidence, kind: str) -> pd.Series:
    frame = evidence.frame("sink_rates")
    rows = frame[(frame["input"] == kind) & frame["layer"].isna()]
    if rows.empty:
        raise NotApplicable(f"{kind} is not among analyses.sinks.inputs")
    return rows.iloc[0]


MEASURES = {"D4": sinks_on_text_alone}
QUANTITIES = {"rate": rate}
