"""Gaps between judged scores of connected questions: score gap and forward and backward discrepancy (no model needed).

Source: Ko et al. 2024, arXiv 2406.19502, section 3.3. f is the judged correctness from 1 to 5; every gap is divided
by 4, the largest there can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.analyses.mink.depth_graph import STRATEGIC, Graph, domains, graph_of, predecessors
from atlas.data.trees import has_graph
from atlas.errors import AtlasError
from atlas.statistics.intervals import bootstrap_interval

if TYPE_CHECKING:
    from jaxtyping import Float

ZERO_SHOT = "zero_shot"
QUANTILES = (0.25, 0.75)
LEVELS = ((2, 3), (1, 2))  # (depth below, depth above)
NO_GRAPH = "without predecessors in the data"
_COLUMNS = ["question", "score", "gap", "group", "mink", "predecessors", "domain"]


def score_gap_table(
    table: pd.DataFrame, judgements: pd.DataFrame, mink: pd.DataFrame, *, k_percent: float, text: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """(the table score_gap without keys, {reason: D3 questions left out}).

    gap = (f(question) - mean f of its D2 predecessors that have a score) / 4, signed. `group` by the quantiles of
    Min-K% of all D3 questions of the model: at or below the 25 % quantile, at or above the 75 % quantile, else middle.
    table: the data set; judgements: frame with number and score; mink: the table mink of the model.
    Without a row where the data set names no predecessor, and NO_GRAPH is the reason then. Raises AtlasError where it
    does and no D3 question is left.
    """
    if not has_graph(table):
        frame = pd.DataFrame(columns=_COLUMNS).assign(k_percent=float(k_percent), text=text)
        return frame, {NO_GRAPH: int((table["depth"] == STRATEGIC).sum())}
    score = scores_by_row(table, judgements)
    chosen = mink[(mink["k_percent"] == k_percent) & (mink["text"] == text)]
    value = table["id"].map(chosen.set_index("question")["mink"]).to_numpy(dtype=float)
    strategic = np.flatnonzero(table["depth"] == STRATEGIC)
    known = value[strategic][~np.isnan(value[strategic])]
    low, high = np.quantile(known, QUANTILES) if len(known) else (np.nan, np.nan)
    below, domain = predecessors(table), domains(table)
    asked = set(judgements["number"])
    left_out = dict.fromkeys(("not predicted", "no score", "no predecessor with a score", "no Min-K%"), 0)
    rows = []
    for number in strategic.tolist():
        under = score[below[number]]
        under = under[~np.isnan(under)]
        if number not in asked:
            left_out["not predicted"] += 1
        elif np.isnan(score[number]):
            left_out["no score"] += 1
        elif not len(under):
            left_out["no predecessor with a score"] += 1
        elif np.isnan(value[number]):
            left_out["no Min-K%"] += 1
        else:
            gap = (score[number] - under.mean()) / 4
            group = group_of(value[number], low, high)
            rows.append((table["id"][number], score[number], gap, group, value[number], len(under), domain[number]))
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise AtlasError(
            f"no D3 question has a score gap ({reasons or 'there are none'}); look at predictions and judge."
        )
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    return frame.assign(k_percent=float(k_percent), text=text), left_out


def group_of(value: float, low: float, high: float) -> str:
    """25%, 75% or middle; a value at both quantiles (all equal) counts as 25%."""
    return "25%" if value <= low else "75%" if value >= high else "middle"


def judged_as(table: pd.DataFrame, judgements: pd.DataFrame, prompt: str) -> pd.DataFrame:
    """Those of `judgements` (frame with prompt) of answers under one kind of prompt.

    A question that builds on nothing has nothing before it under any kind: its zero-shot answer counts for all.
    """
    own = judgements[judgements["prompt"] == prompt]
    if prompt == ZERO_SHOT:
        return own
    alone = table["predecessors"].map(len).to_numpy()[judgements["number"]] == 0
    return pd.concat([judgements[(judgements["prompt"] == ZERO_SHOT) & alone], own], ignore_index=True)


def scores_by_row(table: pd.DataFrame, judgements: pd.DataFrame) -> Float[np.ndarray, " rows"]:
    """(N,) judged scores of all rows of the data set, NaN where there is none."""
    score = np.full(len(table), np.nan)
    score[judgements["number"].to_numpy(dtype=int)] = judgements["score"]
    return score


def accuracy_table(
    table: pd.DataFrame, judgements: pd.DataFrame, *, confidence: float, draws: int, seed: int
) -> pd.DataFrame:
    """The table depth_accuracy without keys: mean judged score by depth, bootstrap interval over questions."""
    rows = []
    for depth in sorted(table["depth"].unique()):
        values = judgements.loc[judgements["depth"] == depth, "score"].to_numpy(dtype=float)
        scored = values[~np.isnan(values)]
        low, high = bootstrap_interval(scored, np.mean, confidence=confidence, draws=draws, seed=seed)
        mean = scored.mean() if len(scored) else np.nan
        rows.append((depth, mean, low, high, len(scored), len(values) - len(scored)))
    return pd.DataFrame(rows, columns=["depth", "score", "low", "high", "questions", "unscored"])


def discrepancy_table(
    table: pd.DataFrame,
    judgements: pd.DataFrame,
    *,
    threshold: float,
    successor_rule: str,
    confidence: float,
    draws: int,
    seed: int,
    by: str = "question",
) -> pd.DataFrame:
    """The table discrepancy without keys: forward and backward for D2-D3, D1-D2 and both together (`all`).

    See `discrepancies`; value is their mean, with a bootstrap interval over questions (or nodes, as `by` says), NaN
    where none counts.
    """
    score, graph = scores_by_row(table, judgements), graph_of(table, by)
    rows = []
    for direction in ("forward", "backward"):
        pooled = []
        for lower, upper in LEVELS:
            gaps = discrepancies(table, score, direction, lower, upper, threshold, successor_rule, graph)
            pooled.append(gaps)
            rows.append((direction, f"D{lower}-D{upper}", gaps))
        rows.append((direction, "all", np.concatenate(pooled)))
    found = []
    for direction, depths, gaps in rows:
        low, high = bootstrap_interval(gaps, np.mean, confidence=confidence, draws=draws, seed=seed)
        found.append((direction, depths, gaps.mean() if len(gaps) else np.nan, len(gaps), low, high))
    frame = pd.DataFrame(found, columns=["direction", "depths", "value", "questions", "low", "high"])
    return frame.assign(threshold=float(threshold), successors=successor_rule, by=by)


def discrepancies(
    table: pd.DataFrame,
    score: Float[np.ndarray, " rows"],
    direction: str,
    lower: int,
    upper: int,
    threshold: float,
    successor_rule: str,
    graph: Graph,
) -> Float[np.ndarray, " counted"]:
    """max(0, (f of the neighbours - f(question)) / 4) of the questions, or nodes, of `graph` that count, (n,).

    forward: questions of depth `upper` against the mean of their predecessors (able to do the parts, not the whole);
    backward: questions of depth `lower` against their successors (able to do the whole, not the part), under
    successor_rule "mean", or "first", which takes the first successor alone, as the published code does. A question
    counts where its neighbours reach `threshold` on the raw 1 to 5 scale; neighbours without a score are left out.
    """
    neighbours = graph.below if direction == "forward" else graph.above
    depths = table["depth"].to_numpy()[graph.row]
    found = []
    for number in np.flatnonzero(depths == (upper if direction == "forward" else lower)).tolist():
        own, values = score[graph.row[number]], score[graph.row[neighbours[number]]]
        values = values[~np.isnan(values)]
        if np.isnan(own) or not len(values):
            continue
        other = values[0] if direction == "backward" and successor_rule == "first" else values.mean()
        if other >= threshold:
            found.append(max(0.0, (other - own) / 4))
    return np.array(found)
