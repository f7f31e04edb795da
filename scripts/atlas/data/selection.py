"""Which rows of a data set are used: the first n, or n drawn with a seed."""

from collections.abc import Callable, Hashable

import numpy as np
import pandas as pd

from atlas.errors import AtlasError


def select(
    table: pd.DataFrame, entry: dict, units: Callable[[pd.DataFrame], list[Hashable]], name: str, counted: str = "rows"
) -> np.ndarray:
    """Positions of the rows to use, in the order of the file.

    entry: `limit` (int) takes the first n units, `sample` ({n, seed}) draws n of them without replacement; not both.
    units: per row the unit it is counted in (rows themselves for most kinds), or None where it does not count; counted:
    what these are called.
    Raises AtlasError: both given, sizes that are not positive whole numbers, a sample larger than the data set.
    """
    limit, sample = entry.get("limit"), entry.get("sample")
    if limit is None and sample is None:
        return np.arange(len(table))
    if limit is not None and sample is not None:
        raise AtlasError(
            f"{name}: `limit` and `sample` are both given; keep one (`sample` says by itself how many rows it takes)."
        )
    size = _whole(
        limit if sample is None else sample.get("n"), f"{name}: `{'limit' if sample is None else 'sample.n'}`", 1
    )
    labels = units(table)
    known = list(dict.fromkeys(label for label in labels if label is not None))
    if sample is None:
        chosen = set(known[:size])
    else:
        seed = _whole(sample.get("seed"), f"{name}: `sample.seed`", 0)
        if size > len(known):
            raise AtlasError(
                f"{name}: `sample.n` is {size}, but there are only {len(known)} {counted} to draw from; lower it."
            )
        drawn = np.random.default_rng(seed).choice(len(known), size=size, replace=False)
        chosen = {known[place] for place in drawn}
    return np.flatnonzero([label in chosen for label in labels])


def by_row(table: pd.DataFrame) -> list[Hashable]:
    """Each row is a unit."""
    return list(range(len(table)))


def _whole(value: object, what: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise AtlasError(f"{what} is {value!r}; it must be a whole number from {least} on.")
    return value
