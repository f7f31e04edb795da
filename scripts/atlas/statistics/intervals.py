"""Confidence intervals over samples: prompts, sequences, questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike


def mean_interval(
    total: Float[np.ndarray, "*shape"], squares: Float[np.ndarray, "*shape"], count: ArrayLike, confidence: float
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Mean and Student-t interval from sums.

    total, squares: sums of the values and of their squares over samples; count: number of samples; arrays of one
    broadcastable shape. Where count < 2 the bounds are NaN. Returns (mean, low, high).
    """
    n = np.asarray(count, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = np.maximum(squares - n * mean**2, 0) / (n - 1)
        half = stats.t.ppf(0.5 + confidence / 2, n - 1) * np.sqrt(variance / n)
    half = np.where(n < 2, np.nan, half)
    return mean, mean - half, mean + half


def bootstrap_weights(samples: int, draws: int, seed: int | Sequence[int]) -> Float[np.ndarray, "draws samples"]:
    """(draws, samples) counts of how often each sample is drawn in each bootstrap replicate, as float64."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(samples, np.full(samples, 1 / samples), size=draws).astype(float)


def bootstrap_interval(
    values: Float[np.ndarray, " samples"],
    statistic: Callable[..., np.ndarray],
    *,
    confidence: float,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Bootstrap percentile interval of a statistic of `values`: (low, high); NaN for fewer than two.

    statistic: a reduction of numpy such as np.mean, called on (draws, samples) with axis=1.
    """
    if len(values) < 2:
        return np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(0, len(values), size=(draws, len(values)))
    low, high = percentile_interval(statistic(values[drawn], axis=1), confidence)
    return float(low), float(high)


def percentile_interval(
    replicates: Float[np.ndarray, " draws *shape"], confidence: float
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Percentile interval over axis 0 of bootstrap replicates: (low, high)."""
    tail = 50 * (1 - confidence)
    low, high = np.percentile(replicates, [tail, 100 - tail], axis=0)
    return low, high


def wilson_interval(
    successes: ArrayLike, trials: int, confidence: float
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Wilson score interval of a proportion for an array of counts out of `trials`: (low, high), of its shape."""
    counts = np.asarray(successes)
    values, inverse = np.unique(counts, return_inverse=True)
    bounds = np.array(
        [stats.binomtest(int(k), trials).proportion_ci(confidence, method="wilson") for k in values]
    ).reshape(-1, 2)
    low, high = bounds[inverse.reshape(counts.shape)].transpose(counts.ndim, *range(counts.ndim))
    return low, high


def wilson_rate(rate: float, trials: int, confidence: float) -> tuple[float, float]:
    """Wilson score interval (low, high) of a proportion `rate` seen in `trials`, which need not be whole successes."""
    z = stats.norm.ppf(0.5 + confidence / 2)
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))  # rounding at 0 and 1
