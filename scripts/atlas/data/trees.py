"""`limit` and `sample` for data sets whose rows belong together."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from atlas.data.selection import select


def choose_trees(table: pd.DataFrame, entry: dict, name: str) -> np.ndarray:
    """For `depth`: n questions of the greatest depth there is, and everything below them.

    Rows by themselves would leave predecessors behind that the kind's own check demands.
    """
    top = table["depth"].max()
    roots = select(table, entry, lambda rows: [i if d == top else None for i, d in enumerate(rows["depth"])], name)
    if not entry.get("limit") and not entry.get("sample"):
        return roots
    return np.flatnonzero(table["id"].isin(tree(table, table["id"].iloc[roots])))


def tree(table: pd.DataFrame, roots: Iterable[str]) -> set[str]:
    """The ids `roots` and everything below them in a `depth` table."""
    below = dict(zip(table["id"], table["predecessors"], strict=True))
    wanted, waiting = set(), list(roots)
    while waiting:
        question = waiting.pop()
        if question not in wanted:
            wanted.add(question)
            waiting.extend(below[question])
    return wanted


def choose_within_relations(table: pd.DataFrame, entry: dict, name: str) -> np.ndarray:
    """For `relations`: n pairs of every relation; a relation with fewer gives all it has to `limit`."""
    chosen = []
    for relation, rows in table.groupby("relation", sort=False).indices.items():
        part = table.iloc[rows]
        picked = select(part, entry, lambda rows: list(range(len(rows))), f"{name}, relation {relation!r}")
        chosen.append(rows[picked])
    return np.sort(np.concatenate(chosen))
