"""How well a score tells two classes apart: area under the ROC curve, and the true positives that few false ones buy.

Both are computed from how often each text is drawn, so that one function gives the values of the sample itself and of
many bootstrap replicates at once.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from atlas.statistics.intervals import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Scores = Float[np.ndarray, " texts"]
    Members = Bool[np.ndarray, " texts"]

_AT_ONCE = 2**22  # counts of texts that are held at once: draws times texts


def roc_points(scores: Scores, members: Members) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """(false positive rate, true positive rate) of calling a member whatever scores at least t, for every t.

    One point for each different score, from the largest down, behind (0, 0); the last is (1, 1). Equal scores are one
    point: they cannot be told apart.
    """
    true, false = _counts(scores, members, np.ones((1, len(scores))))
    return false[0] / false[0, -1], true[0] / true[0, -1]


def roc_statistics(
    scores: Scores, members: Members, max_fpr: float, weights: Float[np.ndarray, "draws texts"] | None = None
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    """(AUROC, true positive rate where the false one is at most max_fpr), (draws,) each, under each row of weights.

    scores: larger speaks for a member; members: which texts are; weights: how often each text counts (None: once, in
    one draw). AUROC is the probability that a member scores above a non-member, ties counting a half. The rate is that
    of the lowest threshold t whose false positives (non-members with a score of at least t) are at most max_fpr of the
    non-members; 0 where no threshold is.
    """
    given = np.ones((1, len(scores))) if weights is None else weights
    step = max(1, _AT_ONCE // max(1, len(scores)))
    found = [_statistics(scores, members, max_fpr, given[i : i + step]) for i in range(0, len(given), step)]
    area, rate = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return area, rate


def roc_intervals(
    scores: Scores, members: Members, max_fpr: float, *, confidence: float, draws: int, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """((low, high) of the AUROC, (low, high) of the rate): bootstrap percentiles over texts.

    Members and non-members are drawn apart, so that every replicate has as many of both as the sample. NaN where a
    class has fewer than two texts.
    """
    if min(members.sum(), (~members).sum()) < 2:
        return (np.nan, np.nan), (np.nan, np.nan)
    weights = np.empty((draws, len(scores)))
    for number, chosen in enumerate((members, ~members)):
        weights[:, chosen] = bootstrap_weights(int(chosen.sum()), draws, [seed, number])
    bounds = [percentile_interval(value, confidence) for value in roc_statistics(scores, members, max_fpr, weights)]
    area, rate = ((float(low), float(high)) for low, high in bounds)
    return area, rate


def _statistics(
    scores: Scores, members: Members, max_fpr: float, weights: Float[np.ndarray, "draws texts"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    true, false = _counts(scores, members, weights)
    positives, negatives = true[:, -1], false[:, -1]
    # Trapezoids between the points: where several texts share a score the line is straight, which counts ties a half.
    area = ((true[:, 1:] + true[:, :-1]) * np.diff(false, axis=1)).sum(1) / (2 * positives * negatives)
    # Whole texts, without the float error that makes 29 % of 100 texts 28.
    allowed = [int(int(count) * Fraction(str(max_fpr))) for count in negatives]
    last = (false <= np.array(allowed)[:, None]).sum(1) - 1
    return area, true[np.arange(len(true)), last] / positives


def _counts(
    scores: Scores, members: Members, weights: Float[np.ndarray, "draws texts"]
) -> tuple[Float[np.ndarray, "draws points"], Float[np.ndarray, "draws points"]]:
    """(members, non-members) with a score of at least t, for every different t from the top, behind a 0."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    drawn = weights[:, order]
    nothing = np.zeros((len(weights), 1))
    true, false = (
        np.concatenate([nothing, np.add.reduceat(drawn * chosen[order], first, axis=1).cumsum(1)], axis=1)
        for chosen in (members, ~members)
    )
    return true, false
