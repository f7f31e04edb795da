"""The graph of a depth data set, as row numbers (no model needed)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.data.trees import has_graph, tree
from atlas.errors import AtlasError

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int

STRATEGIC = 3


def predecessors(table: pd.DataFrame) -> dict[int, list[int]]:
    """{row: [rows one depth below that it builds on]}, every row, in the order of the data."""
    row = {name: number for number, name in enumerate(table["id"])}
    return {number: [row[name] for name in names] for number, names in enumerate(table["predecessors"])}


def successors(table: pd.DataFrame) -> dict[int, list[int]]:
    """{row: [rows one depth above that build on it]}, every row, in the order of the data."""
    found: dict[int, list[int]] = {number: [] for number in range(len(table))}
    for number, below in predecessors(table).items():
        for other in below:
            found[other].append(number)
    return found


def predecessors_by_depth(table: pd.DataFrame) -> dict[int, int]:
    """{depth: how many predecessors its questions name}; 0 at every depth where the data set has no graph."""
    return {int(depth): int(rows["predecessors"].map(len).sum()) for depth, rows in table.groupby("depth")}


def graphs(table: pd.DataFrame) -> dict[int, list[int]]:
    """{row of a D3 question: [its row and those of everything below it, in the order of the data]}.

    Empty where the data set names no predecessor: a question by itself is no graph.
    """
    if not has_graph(table):
        return {}
    roots = table.index[table["depth"] == STRATEGIC]
    return {int(root): np.flatnonzero(table["id"].isin(tree(table, [table["id"][root]]))).tolist() for root in roots}


def prediction_rows(table: pd.DataFrame, questions: int | None, seed: int) -> list[int]:
    """Rows of `questions` D3 questions drawn with `seed` (None: all of them) and of everything below these.

    Where the data set names no predecessor: of so many questions of each depth, or all. Raises AtlasError where the
    data set has no D3 question; more than there are means all.
    """
    roots = table.index[table["depth"] == STRATEGIC].to_numpy()
    if not len(roots):
        raise AtlasError("the data set has no question of depth 3, so there is nothing to predict or to compare.")
    if not has_graph(table):
        by_depth = [np.asarray(rows) for _, rows in sorted(table.groupby("depth").indices.items())]
        return np.sort(np.concatenate([_drawn(rows, questions, seed) for rows in by_depth])).tolist()
    roots = _drawn(roots, questions, seed)
    return np.flatnonzero(table["id"].isin(tree(table, table["id"][roots]))).tolist()


def _drawn(rows: Int[np.ndarray, " rows"], number: int | None, seed: int) -> Int[np.ndarray, " drawn"]:
    """`number` of `rows` in their order, all where that is None or more than there are."""
    if number is None or number >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, size=number, replace=False))
