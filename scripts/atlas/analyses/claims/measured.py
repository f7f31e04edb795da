"""What a claim's function gives: a measured value with its interval, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from atlas.statistics.intervals import percentile_interval, wilson_rate
from atlas.statistics.resampling import interval_p, replicate_p

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float


class NotApplicable(Exception):
    """A claim cannot be put to this model; the sentence says why."""


class Undecided(Exception):
    """Nothing could be measured, and more of it could mend that; the sentence says why."""


@dataclass(frozen=True)
class Measured:
    """One measured quantity of a claim.

    value, low, high: with its interval. p: two-sided p value of a threshold. n, unit: what was sampled, and how many.
    effect, effect_kind: its size, and in what. also: p of a further test that must reject too for the claim to hold.
    partner: key of the model that it is compared with. by_construction: why it could not have come out otherwise.
    open: why there is no verdict although there is an interval. note: what a reader must be told.
    """

    value: float
    low: float
    high: float
    p: Callable[[float], float]
    n: int
    unit: str
    effect: float = np.nan
    effect_kind: str = ""
    also: float = 0.0
    partner: str = ""
    by_construction: str = ""
    open: str = ""
    note: str = ""


def single(values: pd.Series, what: str) -> float:
    """The one value of a selection from a table. Raises NotApplicable where there is none."""
    if values.dropna().empty:
        raise NotApplicable(f"there is no {what} in the table")
    return float(values.item())


def of_replicates(
    value: float, replicates: Float[np.ndarray, " draws"], *, confidence: float, n: int, unit: str, **more: object
) -> Measured:
    """A value with the percentile interval of its bootstrap replicates (draws,); NaN among them is an error of ours."""
    if np.isnan(replicates).any():
        raise ValueError("a bootstrap replicate is NaN: the claim's function must leave such samples out")
    low, high = (float(bound) for bound in percentile_interval(replicates, confidence))
    return Measured(float(value), low, high, lambda threshold: replicate_p(replicates, threshold), n, unit, **more)  # type: ignore[arg-type]


def of_interval(
    value: float, low: float, high: float, *, confidence: float, n: int, unit: str, own: float = 0.0, **more: object
) -> Measured:
    """A value with an interval that a table gives; p as if the value were normal.

    own: the confidence of the table's interval where it may be another (0: it is the same). The interval is brought
    from it to `confidence` as if the value were normal.
    """
    value, low, high = float(value), float(low), float(high)
    if own and own != confidence:
        wider = float(stats.norm.ppf(0.5 + confidence / 2) / stats.norm.ppf(0.5 + own / 2))
        low, high = value - (value - low) * wider, value + (high - value) * wider
    return Measured(value, low, high, lambda at: interval_p(value, low, high, confidence, at), n, unit, **more)  # type: ignore[arg-type]


def of_share(found: int, n: int, *, confidence: float, unit: str, minus: float = 0.0, **more: object) -> Measured:
    """The share of `found` among `n` > 0, less a constant `minus`: Wilson's interval, p of the exact binomial test."""
    share = found / n
    low, high = wilson_rate(share, n, confidence)

    def p(threshold: float) -> float:
        chance = threshold + minus
        return float(stats.binomtest(found, n, chance).pvalue) if 0 <= chance <= 1 else 0.0

    return Measured(share - minus, low - minus, high - minus, p, n, unit, **more)  # type: ignore[arg-type]
