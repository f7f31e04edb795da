"""Min-K% and Min-K%++ of texts, their averages by depth, and whether they change with depth (no model needed).

Sources: Shi et al. 2024, arXiv 2310.16789 (Min-K% Prob); Zhang et al. 2024, arXiv 2404.02936 (Min-K%++);
Ko et al. 2024, arXiv 2406.19502 (averages by the depth of the question).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from atlas.analyses.mink import storage
from atlas.analyses.mink.depth_graph import domains, graphs
from atlas.errors import AtlasError
from atlas.statistics.intervals import bootstrap_interval

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

    from atlas.analyses.types import Arrays, Keys

MEASURES = ("mink", "minkpp")
_GRAPH_KEYS = ["model", "dataset", "text", "template", "dtype", "k_percent", "depth"]


def tokens_counted(tokens: int, k_percent: float) -> int:
    """k = floor(tokens * K / 100), at least 1, without the float error that makes 29 % of 100 tokens 28.

    Raises AtlasError unless 0 < K <= 100.
    """
    share = Fraction(str(k_percent))
    if not 0 < share <= 100:
        raise AtlasError(f"analyses.mink.k_percent: {k_percent} is out of range; it must be above 0 and at most 100.")
    return max(1, int(tokens * share / 100))


def min_k(values: ArrayLike, k_percent: float) -> float:
    """- mean of the k smallest of `values` (N,), k as in tokens_counted: Min-K% from log p, Min-K%++ from z.

    Positive for log-probabilities; larger means less memorised.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return -float(ordered[: tokens_counted(len(ordered), k_percent)].mean())


def z_scores(lp: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float[np.ndarray, " tokens"]:
    """(lp - mu) / sigma of each token; 0 where sigma is 0."""
    own, mean, deviation = (np.asarray(values, dtype=np.float64) for values in (lp, mu, sigma))
    return np.divide(own - mean, deviation, out=np.zeros_like(own), where=deviation > 0)


# ------------------------------------------------------------------------------------------------------------- tables
def mink_table(
    arrays: Arrays,
    table: pd.DataFrame,
    keys: Keys,
    *,
    k_percent: Sequence[float],
    min_tokens: int,
    template: str,
    dtype: str,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """(the table mink, {text: texts with fewer than min_tokens scored tokens}) of one model and data set.

    arrays: as in storage; table: the data set; k_percent: list of K; a row for every question, text and K;
    dtype: of the model that gave the log-probabilities.
    Raises AtlasError where every text is shorter than min_tokens.
    """
    rows: list[tuple] = []
    short: dict[str, int] = {}
    for text in storage.texts_of(arrays):
        short[text] = 0
        for number, tokens in storage.split(arrays, text):
            lp, count = tokens["lp"], len(tokens["lp"])
            if count < min_tokens:
                short[text] += 1
                continue
            z = z_scores(lp, tokens["mu"], tokens["sigma"])
            question, depth = table["id"].iloc[number], table["depth"].iloc[number]
            for k in k_percent:
                values = (min_k(lp, k), min_k(z, k), count, tokens_counted(count, k))
                rows.append((number, question, depth, text, float(k), *values))
        if short[text] == len(arrays[f"{text}.number"]):
            raise AtlasError(
                f"all {short[text]} texts of kind {text!r} have fewer scored tokens than analyses.mink.min_tokens = "
                f"{min_tokens}; lower it."
            )
    names = ["number", "question", "depth", "text", "k_percent", *MEASURES, "tokens", "tokens_averaged"]
    frame = pd.DataFrame(rows, columns=names).sort_values(["text", "k_percent", "number"], kind="stable")
    known = domains(table)
    frame["domain"] = [known[number] for number in frame["number"]]
    return frame.drop(columns="number").assign(**keys, template=template, dtype=dtype), short


def graph_table(mink: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The table mink_graphs: for every D3 question and depth the mean over the questions of its graph.

    mink: the table mink of one model and data set. `root` is the id of the D3 question.
    """
    frames = []
    for root, rows in graphs(table).items():
        part = mink[mink["question"].isin(table["id"].iloc[rows])]
        means = part.groupby(_GRAPH_KEYS, sort=True)[list(MEASURES)]
        found = means.mean().assign(questions=means.size()).reset_index()
        frames.append(found.assign(root=table["id"].iloc[root]))
    return pd.concat(frames, ignore_index=True) if frames else _no_graphs(mink)


def _no_graphs(mink: pd.DataFrame) -> pd.DataFrame:
    return mink.head(0)[[*_GRAPH_KEYS, *MEASURES]].assign(questions=0, root="")


def trend_table(
    mink: pd.DataFrame,
    by_graph: pd.DataFrame,
    dropped: Mapping[str, int],
    *,
    average: str,
    confidence: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """The table mink_trend: median of Min-K% and Min-K%++ by depth, its interval, and a trend test over the depths.

    dropped: {text: texts left out}. average: "question" (each question counts once) or "graph" (each D3 question's
    graph gives one mean per depth). Intervals: bootstrap percentiles over questions or graphs. Trend over questions:
    Kendall's tau-b of depth and value, which is the Jonckheere-Terpstra test; over graphs: Page's test with graphs as
    blocks, both sides, tau-b beside it.
    Raises AtlasError for "graph" where the data set has none.
    """
    source = mink if average == "question" else by_graph
    if source.empty:
        raise AtlasError(
            f"analyses.mink.average is graph, but data set {mink['dataset'].iloc[0]} names no predecessors, so it has "
            "no graphs; write question."
        )
    frames = []
    for (text, k_percent), part in source.groupby(["text", "k_percent"], sort=True):
        depths = sorted(part["depth"].unique())
        frame = pd.DataFrame({"text": text, "k_percent": k_percent, "depth": depths})
        frame["questions"] = [int((part["depth"] == depth).sum()) for depth in depths]
        for measure, suffix in zip(MEASURES, ("", "_pp"), strict=True):
            values = [part.loc[part["depth"] == depth, measure].to_numpy() for depth in depths]
            frame[f"median{suffix}"] = [np.median(value) for value in values]
            bounds = [
                bootstrap_interval(value, np.median, confidence=confidence, draws=draws, seed=seed) for value in values
            ]
            frame[f"low{suffix}"], frame[f"high{suffix}"] = zip(*bounds, strict=True)
            frame[f"trend_tau{suffix}"], p = depth_trend(part["depth"], part[measure])
            frame[f"trend_p{suffix}"] = p if average == "question" else page_trend(part, measure)
        frames.append(frame.assign(dropped=dropped.get(text, 0), average=average))
    keys = {name: mink[name].iloc[0] for name in ("model", "dataset", "template", "dtype")}
    return pd.concat(frames, ignore_index=True).assign(**keys)


def depth_trend(depths: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Kendall's tau-b between depth and value and its two-sided p: (tau, p); NaN for a single depth."""
    if len(set(depths)) < 2:
        return np.nan, np.nan
    found = stats.kendalltau(depths, values)
    return float(found.statistic), float(found.pvalue)


def page_trend(part: pd.DataFrame, measure: str) -> float:
    """Two-sided p of Page's trend test over graphs with every depth; NaN for fewer than two graphs or three depths.

    part: rows of mink_graphs of one text and K.
    """
    blocks = part.pivot(index="root", columns="depth", values=measure).dropna()
    if min(blocks.shape) < 2 or blocks.shape[1] < 3:
        return np.nan
    tests = [stats.page_trend_test(values, method="asymptotic") for values in (blocks, blocks.iloc[:, ::-1])]
    return min(1.0, 2 * min(float(test.pvalue) for test in tests))
