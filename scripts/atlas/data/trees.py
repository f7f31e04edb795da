"""`limit` and `sample` for data sets whose rows belong together."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from atlas.data.selection import by_row, select


def has_graph(table: pd.DataFrame) -> bool:
    """Whether a `depth` table says what its questions build on; where it names no predecessor at all, it does not."""
    return any(len(names) for names in table["predecessors"])


def choose_trees(table: pd.DataFrame, entry: dict, name: str) -> np.ndarray:
    """For `depth`: n questions of the greatest depth there is, and everything below them.

    Rows by themselves would leave predecessors behind that the kind's own check demands. Where no predecessor is named
    nothing is known to be below a question: n questions of each depth.
    """
    if not has_graph(table):
        depths = table.groupby("depth", sort=True).indices.items()
        chosen = [
            rows[select(table.iloc[rows], entry, by_row, name, f"questions of depth {depth}")] for depth, rows in depths
        ]
        return np.sort(np.concatenate(chosen))
    top = table["depth"].max()
    graphs = f"graphs (questions of depth {top}, each with all below it)"

    def units(rows: pd.DataFrame) -> list[Hashable]:
        return [i if depth == top else None for i, depth in enumerate(rows["depth"])]

    roots = select(table, entry, units, name, graphs)
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


def check_relations_have(table: pd.DataFrame, entry: dict, name: str) -> np.ndarray:
    """For `relations`: all pairs, once every relation is known to have as many as `sample` asks for.

    They are taken of those that a model's tokenizer leaves (`pairs_of_relation`), so that models share relations.
    """
    for relation, rows in table.groupby("relation", sort=False).indices.items():
        select(table.iloc[rows], entry, by_row, f"{name}, relation {relation!r}", "pairs")
    return np.arange(len(table))


def pairs_of_relation(given: int, left: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    """The pairs of a relation that `limit` or `sample` take of those that a tokenizer leaves, in the order of the file.

    given: how many the relation has; left: the places of those left among them. The order in which pairs are drawn
    depends on `given` and the seed alone, so two models that have the same pairs left are given the same ones. Where
    fewer are left than asked for, all are taken.
    """
    limit, sample = entry.get("limit"), entry.get("sample")
    if limit is not None:
        return left[:limit]
    if sample is None:
        return left
    order = np.random.default_rng(sample["seed"]).permutation(given)
    return np.sort(order[np.isin(order, left)][: sample["n"]])
