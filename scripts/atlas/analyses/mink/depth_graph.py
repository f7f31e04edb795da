"""The graph of a depth data set, as row numbers (no model needed)."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Graph:
    """What discrepancies are averaged over: questions, or their places in the graphs.

    row: (nodes,) row of the data set that each stands for; below, above: the nodes that each builds on, and that build
    on it, in the order of the data.
    """

    row: Int[np.ndarray, " nodes"]
    below: list[list[int]]
    above: list[list[int]]


def graph_of(table: pd.DataFrame, by: str) -> Graph:
    """The graph of a data set by `question` (each once, with the predecessors of all its nodes) or by `node`.

    Nodes are those that the data names. Where it names none, a question counts once for each question that nothing
    builds on and that it stands below (as of one tree for each of these). Raises AtlasError where it names those of
    some alone of the questions that stand in a graph: the others would count for nothing.
    """
    if by == "question":
        return _graph(list(range(len(table))), list(predecessors(table).values()))
    nodes = [[] if own is None else list(own) for own in table["nodes"]] if "nodes" in table else []
    if any(nodes):
        linked = {name for names in table["predecessors"] for name in names}
        without = [
            str(name)
            for name, below, own in zip(table["id"], table["predecessors"], nodes, strict=True)
            if not own and (len(below) or name in linked)
        ]
        if without:
            raise AtlasError(
                f"analyses.mink.by: node counts nodes, and {len(without)} of the questions that build on others, or "
                f"that others build on, have none, such as {without[0]!r}; give them nodes, or take by: question."
            )
        listed = [(number, name, below) for number, own in enumerate(nodes) for name, *below in own]
        place = {name: i for i, (_, name, _) in enumerate(listed)}
        # Nodes of questions that `limit` or `sample` left out are not there.
        edges = [[place[other] for other in below if other in place] for _, _, below in listed]
        return _graph([number for number, _, _ in listed], edges)
    below, above = predecessors(table), successors(table)
    found: list[tuple[int, int]] = []
    for root in (number for number, over in above.items() if not over):
        under = np.flatnonzero(table["id"].isin(tree(table, [table["id"][root]]))).tolist()
        found += [(root, number) for number in under]
    found.sort(key=lambda node: (node[1], node[0]))
    node_of = {node: i for i, node in enumerate(found)}
    return _graph(
        [number for _, number in found],
        [[node_of[root, other] for other in below[number]] for root, number in found],
    )


def _graph(rows: list[int], below: list[list[int]]) -> Graph:
    above: list[list[int]] = [[] for _ in rows]
    for number, others in enumerate(below):
        for other in others:
            above[other].append(number)
    return Graph(np.array(rows, dtype=int), below, above)


def domains(table: pd.DataFrame) -> list[str]:
    """The domain of each row, an empty text where the data names none."""
    if "domain" not in table:
        return [""] * len(table)
    return [name if isinstance(name, str) else "" for name in table["domain"]]


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
