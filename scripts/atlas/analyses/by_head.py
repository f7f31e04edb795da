"""What the head columns of all analyses share: rows of one data set, one row per head, how a measure is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from atlas.errors import AtlasError

KEYS = ["model", "layer", "head"]


class Measure(NamedTuple):
    """A column of the table heads that heads are compared by.

    label: short, of sign * value. unit: of the column. sign: -1 where small values are what the analysis looks for;
    every comparison uses sign * value. diverging: whether 0 divides two opposite findings. column: short label of the
    value itself, where it is another.
    """

    label: str
    unit: str
    sign: int = 1
    diverging: bool = False
    column: str | None = None


def chosen_rows(tables: Mapping[str, pd.DataFrame], name: str, dataset: str, **wanted: object) -> pd.DataFrame:
    """The rows of table `name` for the chosen data set and options. Raises AtlasError where it has none."""
    frame = tables[name]
    for column, value in {"dataset": dataset, **wanted}.items():
        known = sorted(frame[column].unique().tolist())
        if value not in known:
            raise AtlasError(
                f"analyses.heads: table {name} has no {column} {value!r}; choose one of {', '.join(map(str, known))}."
            )
        frame = frame[frame[column] == value]
    return frame


def by_head(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """`frame` indexed by (model, layer, head). Raises AtlasError where that is not unique."""
    frame = frame.set_index(KEYS)
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][0]
        raise AtlasError(f"analyses.heads: table {name} has two rows for {twice}; delete it and run again.")
    return frame


def every_head(frame: pd.DataFrame, depth: int, within: Sequence[str] = ()) -> pd.DataFrame:
    """`frame` with a row for each head of `depth` layers: nulls in layers without attention, which hybrids have.

    frame: layer, head, more. within: columns of which each combination that occurs has every head, and which such rows
    keep; in the order of the combinations, then by layer and head.
    """
    heads = pd.MultiIndex.from_product([range(depth), sorted(frame["head"].unique())], names=["layer", "head"])
    every = heads.to_frame(index=False).astype(frame.dtypes[["layer", "head"]])
    if within:
        every = frame[[*within]].drop_duplicates().merge(every, how="cross")
    return every.merge(frame, how="left", on=[*within, "layer", "head"])[frame.columns]
