"""Statistics of bootstrap replicates: weighted quantiles and modes of many replicates at once, and their p values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from jaxtyping import Float

    Values = Float[np.ndarray, " samples"]
    Weights = Float[np.ndarray, "draws samples"]
    Replicates = Float[np.ndarray, " draws"]

GRID = 500  # places at which a density is looked at
SHARE = 0.995  # of the weight lies below the last of them


def replicate_p(replicates: Replicates, threshold: float) -> float:
    """Two-sided bootstrap p of `threshold`: twice the smaller share of replicates (draws,) on either side of it.

    The observed value counts as one more replicate, so the least p is 2 / (draws + 1).
    """
    beyond = min(int((replicates <= threshold).sum()), int((replicates >= threshold).sum()))
    return min(1.0, 2 * (1 + beyond) / (len(replicates) + 1))


def interval_p(value: float, low: float, high: float, confidence: float, threshold: float) -> float:
    """Two-sided p of `threshold` where only an interval is known: that of a normal with the half-width on its side.

    1 where value and threshold are equal, 0 where the interval has no width. An interval that ends before the value on
    that side says nothing of the spread there: half its width counts.
    """
    if value == threshold:
        return 1.0
    half = value - low if threshold < value else high - value
    if half <= 0:
        half = (high - low) / 2
    if half <= 0:
        return 0.0
    z = abs(value - threshold) * stats.norm.ppf(0.5 + confidence / 2) / half
    return float(2 * stats.norm.sf(z))


def mover(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float, float]:
    """(difference, low, high) of two independent estimates, each (value, low, high) with the same confidence.

    Source: the method of variance estimates recovery, Zou and Donner 2008, Statistics in Medicine 27: 1693; of two
    Wilson intervals it is Newcombe's.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b, a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def weighted_quantile(values: Values, weights: Weights, share: float) -> Replicates:
    """(draws,) smallest of `values` (samples,) that at least `share` of each row of `weights` does not exceed."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[:, order], axis=1)
    reached = total >= share * total[:, -1:] * (1 - 1e-12)  # a share that is reached but for rounding is reached
    return values[order][reached.argmax(1)]


def weighted_mode(values: Values, weights: Weights, own: Values) -> Replicates:
    """(draws,) place of the highest point of a Gaussian kernel density under each row of `weights`.

    values (samples,) are positive; own (samples,): the weights of the sample itself, whose bandwidth (Scott's, of the
    effective number of samples) all replicates have. The density is looked at on GRID places from 0 to the value that
    SHARE of the weight does not exceed.
    """
    share = own / own.sum()
    mean = share @ values
    deviation = math.sqrt(share @ (values - mean) ** 2 / max(1 - share @ share, 1e-300))
    width = deviation * (share @ share) ** 0.2
    if not width > 0:
        return np.full(len(weights), values[own.argmax()])
    places = np.linspace(0, weighted_quantile(values, own[None], SHARE)[0], GRID)
    kernel = np.exp(-0.5 * ((values[:, None] - places) / width) ** 2)
    return places[(weights @ kernel).argmax(1)]
