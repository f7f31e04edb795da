"""Is a distribution of positive numbers of one kind or of two? Two Gaussians in log space, and Hartigan's dip.

The claim behind the figure (Luo et al., arXiv 2601.07422) is that saliency falls into two groups. Ashman's D is the
distance of the two means over the root mean square of the two standard deviations: above 2 the groups stand apart.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from diptest import diptest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from atlas.statistics.intervals import percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Float

MINIMUM = 10  # values below which nothing is fitted
_COLUMNS = ("share", "low_mean", "high_mean", "low_sd", "high_sd", "separation")


def mixture_table(saliency: pd.DataFrame, *, confidence: float, draws: int, seed: int) -> pd.DataFrame:
    """The saliency_mixture frame of one model and data set from its `saliency` frame.

    A row per flow from the exact question tokens, loss and group. Groups are right and wrong answers; within each the
    sampling weights are the same, so none is needed.
    """
    rows = []
    saliency = saliency[saliency["flow"].str.startswith("question_")]
    for (flow, loss, correct), part in saliency.groupby(["flow", "loss", "correct"], sort=False):
        found = summary(part["saliency"].to_numpy(float), confidence=confidence, draws=draws, seed=seed)
        group = "correct" if correct else "wrong"
        rows.append({"model": part["model"].iloc[0], "dataset": part["dataset"].iloc[0], "flow": flow, "loss": loss,
                     "group": group, **found})  # fmt: skip
    return pd.DataFrame(rows)


def summary(
    values: Float[np.ndarray, " samples"], *, confidence: float, draws: int, seed: int, iterations: int = 200
) -> dict[str, float | str]:
    """One row of the table for `values` (n,) >= 0.

    fit: `too_few_values` where fewer than MINIMUM differ or are above 0, `not_converged` where the fit of two does not
    come to rest in so many iterations (both without numbers), else `converged`. Bootstrap draws with fewer than three
    different values, or whose fit does not converge, are left out of the interval; draws_used counts the others.
    """
    logs = np.log10(values[values > 0])
    found: dict[str, float | str] = {
        "samples": len(values),
        "zeros": int((values <= 0).sum()),
        "draws": draws,
        "draws_used": 0,
    }
    names = [*_COLUMNS, "separation_low", "separation_high", "bic_gain", "dip", "dip_p"]
    two = _fit(logs, 2, iterations) if len(np.unique(logs)) >= MINIMUM else None
    if two is None or not two.converged_:
        fit = "too_few_values" if two is None else "not_converged"
        return {**found, "fit": fit, **dict.fromkeys(names, np.nan)}
    one = _fit(logs, 1, iterations)
    numbers = _numbers(two)
    rng = np.random.default_rng(seed)
    replicates = []
    for _ in range(draws):
        drawn = rng.choice(logs, len(logs))
        if len(np.unique(drawn)) >= 3:
            again = _fit(drawn, 2, iterations, start=two)
            if again.converged_:
                replicates.append(_numbers(again)[-1])
    found["draws_used"] = len(replicates)
    low, high = percentile_interval(np.array(replicates), confidence) if replicates else (np.nan, np.nan)
    dip, p = diptest(logs)
    column = logs[:, None]
    gain = one.bic(column) - two.bic(column)
    return {**found, "fit": "converged", **dict(zip(names, [*numbers, low, high, gain, dip, p], strict=True))}


def _fit(
    logs: Float[np.ndarray, " samples"], components: int, iterations: int, start: GaussianMixture | None = None
) -> GaussianMixture:
    """A mixture, from several beginnings, or from a fit `start` of like data."""
    begun = {"n_init": 5, "random_state": 0}
    if start is not None:
        begun = {"weights_init": start.weights_, "means_init": start.means_, "precisions_init": start.precisions_}
    model = GaussianMixture(components, reg_covar=1e-4, max_iter=iterations, **begun)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # callers look at converged_
        return model.fit(logs[:, None])


def _numbers(model: GaussianMixture) -> list[float]:
    """share of the higher group, means and standard deviations (log10), and Ashman's D."""
    low, high = np.argsort(model.means_[:, 0])
    mean, sd = model.means_[:, 0], np.sqrt(model.covariances_[:, 0, 0])
    separation = (mean[high] - mean[low]) / np.sqrt((sd[low] ** 2 + sd[high] ** 2) / 2)
    return [model.weights_[high], mean[low], mean[high], sd[low], sd[high], separation]
