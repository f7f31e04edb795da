"""Min-K% and Min-K%++ of texts, their averages by depth, and whether they change with depth (no model needed).

Sources: Shi et al. 2024, arXiv 2310.16789 (Min-K% Prob); Zhang et al. 2024, arXiv 2404.02936 (Min-K%++);
Ko et al. 2024, arXiv 2406.19502 (averages by the depth of the question).
"""

from fractions import Fraction

import numpy as np

from atlas.errors import AtlasError


def tokens_counted(tokens, k_percent):
    """k = floor(tokens * K / 100), at least 1, without the float error that makes 29 % of 100 tokens 28.

    Raises AtlasError unless 0 < K <= 100.
    """
    share = Fraction(str(k_percent))
    if not 0 < share <= 100:
        raise AtlasError(f"analyses.mink.k_percent: {k_percent} is out of range; it must be above 0 and at most 100.")
    return max(1, int(tokens * share / 100))


def min_k(values, k_percent):
    """- mean of the k smallest of `values` (N,), k as in tokens_counted: Min-K% from log-probabilities, Min-K%++ from z.

    Positive for log-probabilities; larger means less memorised.
    """
    values = np.sort(np.asarray(values, dtype=np.float64))
    return -float(values[: tokens_counted(len(values), k_percent)].mean())


def z_scores(lp, mu, sigma):
    """(lp - mu) / sigma of each token; 0 where sigma is 0."""
    lp, mu, sigma = (np.asarray(values, dtype=np.float64) for values in (lp, mu, sigma))
    return np.divide(lp - mu, sigma, out=np.zeros_like(lp), where=sigma > 0)
