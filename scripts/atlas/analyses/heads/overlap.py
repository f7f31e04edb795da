"""Are they the same heads? Rank correlations between measures of heads, and the overlap of their top sets.

For two measures of the heads of one model:

    rho         Spearman's, over all heads; interval by bootstrap over heads; p two-sided (t distribution)
    rho_within  the same of ranks within each layer, pooled over layers, so that measures that both merely grow with
                depth do not count as related; interval by bootstrap over layers, p with one degree lost per layer
    overlap     heads that are among the top n of both; by chance hypergeometric, p one-sided

q is Benjamini-Hochberg within a model, over all pairs, for each of the three. Heads count as independent in all p,
which those of one layer are not quite. Needs no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from atlas.statistics.intervals import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from atlas.analyses.by_head import Measure

    Values = Float[np.ndarray, " heads"]


_CHUNK = 250  # bootstrap draws at once


def overlap_table(
    heads: pd.DataFrame, measures: Mapping[str, Measure], *, top: int, draws: int, confidence: float, seed: int
) -> pd.DataFrame:
    """One row per model and pair of `measures`: {column of the table `heads`: the Measure that orients it}, in order.

    A measure that a model lacks, or that is constant there, gives nulls. `top` heads make a top set; fewer where the
    last of them ties with the next, null where the model has no more than `top`.
    """
    frames = []
    for model, part in heads.groupby("model", sort=False):
        values = {metric: measures[metric].sign * part[metric].to_numpy(float) for metric in measures}
        layers, ranked, rows = part["layer"].to_numpy(), {}, []
        for a, b in combinations(measures, 2):
            both = np.isfinite(values[a]) & np.isfinite(values[b])
            for metric in (a, b):
                if (metric, both.tobytes()) not in ranked:
                    ranked[metric, both.tobytes()] = _bootstrap_ranks(values[metric][both], draws, seed)
            pair = values[a][both], values[b][both]
            replicates = (ranked[a, both.tobytes()] * ranked[b, both.tobytes()]).sum(1)
            rows.append(
                {
                    "model": model,
                    "metric_a": a,
                    "metric_b": b,
                    "heads": both.sum(),
                    **_correlation(*pair, replicates, confidence),
                    **_within_layers(*pair, layers[both], draws, confidence, seed),
                    **_top_sets(*pair, top, confidence),
                }
            )
        frame = pd.DataFrame(rows)
        for p, q in (("p", "q"), ("within_p", "within_q"), ("overlap_p", "overlap_q")):
            frame[q] = adjusted(frame[p].to_numpy(float))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def adjusted(p: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Benjamini-Hochberg q of p values (pairs,); NaN stays NaN and does not count."""
    q = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q


def _correlation(a: Values, b: Values, replicates: Float[np.ndarray, " draws"], confidence: float) -> dict[str, float]:
    """Spearman's rho of a and b (heads,), nulls where one is constant or fewer than three heads are left."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return dict.fromkeys(("rho", "low", "high", "p"), np.nan)
    found = stats.spearmanr(a, b)
    low, high = _interval(replicates, confidence)
    return {"rho": found.statistic, "low": low, "high": high, "p": found.pvalue}


def _bootstrap_ranks(values: Values, draws: int, seed: int) -> Float[np.ndarray, "draws heads"]:
    """(draws, heads) ranks of heads drawn with replacement, each row of mean 0 and length 1; NaN where it is constant.

    The same seed and number of heads draw the same heads, so the rows of two measures belong together.
    """
    generator = np.random.default_rng(seed)
    rows = np.empty((draws, len(values)), np.float32)
    for start in range(0, draws if len(values) else 0, _CHUNK):
        chosen = generator.integers(len(values), size=(min(_CHUNK, draws - start), len(values)))
        ranks = stats.rankdata(values[chosen], axis=1)
        ranks -= ranks.mean(1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            rows[start : start + _CHUNK] = ranks / np.linalg.norm(ranks, axis=1, keepdims=True)
    return rows


def _interval(replicates: Float[np.ndarray, " draws"], confidence: float) -> tuple[float, float]:
    """Percentile interval over the replicates that are defined: a draw may hold one value alone."""
    defined = replicates[np.isfinite(replicates)]
    if not len(defined):
        return np.nan, np.nan
    low, high = percentile_interval(defined, confidence)
    return float(low), float(high)


def _within_layers(
    a: Values, b: Values, layers: Int[np.ndarray, " heads"], draws: int, confidence: float, seed: int
) -> dict[str, float]:
    """Correlation of the ranks that heads have among those of their own layer, as shares of it, pooled over layers."""
    nothing = dict.fromkeys(("rho_within", "within_low", "within_high", "within_p"), np.nan)
    frame = pd.DataFrame({"a": a, "b": b, "layer": layers})
    shares = frame.groupby("layer")[["a", "b"]].rank(pct=True)
    centred = shares - shares.groupby(frame["layer"]).transform("mean")
    products = pd.DataFrame(
        {"ab": centred["a"] * centred["b"], "aa": centred["a"] ** 2, "bb": centred["b"] ** 2, "layer": layers}
    )
    sums = products.groupby("layer").sum().to_numpy()
    freedom = len(frame) - len(sums) - 1  # one for each layer's mean, one for the slope
    if freedom < 1 or not (sums[:, 1:].sum(0) > 1e-10).all():
        return nothing
    rho = _ratio(sums.sum(0))
    with np.errstate(divide="ignore"):
        p = 2 * stats.t.sf(abs(rho) * np.sqrt(freedom / (1 - rho**2)), freedom)
    low, high = _interval(_ratio(bootstrap_weights(len(sums), draws, seed) @ sums), confidence)
    if len(sums) < 2:  # one layer drawn again is itself
        low = high = np.nan
    return {"rho_within": rho, "within_low": low, "within_high": high, "within_p": p}


def _ratio(sums: Float[np.ndarray, "*draws 3"]) -> Float[np.ndarray, "*draws"]:
    """Correlation from (..., 3) sums of ab, aa and bb; NaN where one of the two is constant."""
    products, spread = sums[..., 0], sums[..., 1] * sums[..., 2]
    return np.clip(products / np.sqrt(np.where(spread > 1e-20, spread, np.nan)), -1, 1)


def top_set(values: Values, top: int) -> Bool[np.ndarray, " heads"] | None:
    """(heads,) bool: the `top` largest, without those that tie with the next one; None where there is no next."""
    if len(values) <= top:
        return None
    return values > np.partition(values, -top - 1)[-top - 1]


def _top_sets(a: Values, b: Values, top: int, confidence: float) -> dict[str, Any]:
    set_a, set_b = top_set(a, top), top_set(b, top)
    if set_a is None or set_b is None:
        names = ("top_a", "top_b", "overlap", "expected", "chance_low", "chance_high", "overlap_p")
        return {"top": top, **dict.fromkeys(names, np.nan)}
    size_a, size_b = int(set_a.sum()), int(set_b.sum())
    overlap = int((set_a & set_b).sum())
    chance = stats.hypergeom(len(a), size_a, size_b)
    tail = (1 - confidence) / 2
    return {
        "top": top,
        "top_a": size_a,
        "top_b": size_b,
        "overlap": overlap,
        "expected": size_a * size_b / len(a),
        "chance_low": chance.ppf(tail) if size_a and size_b else 0,
        "chance_high": chance.ppf(1 - tail) if size_a and size_b else 0,
        "overlap_p": chance.sf(overlap - 1) if size_a and size_b else 1.0,
    }
