"""Did two runs find the same? `python tests/same_run.py OLD NEW` compares two folders with results/ and figures/.

Figures, captions and csv are compared by sha256; parquet by the sha256 of its values, column by column, since its
metadata names versions and hashes that may change where no number does. Costs measure the machine and are left out.
Every difference is a line; the exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

COMPARED = ("figures/*.*", "results/captions/*.txt", "results/tables/*.csv", "results/tables/*.parquet")
MORE = ("results/datasets/*.parquet", "results/metrics/**/*.parquet")
# The manifest follows from the figures.
LEFT_OUT = ("costs", "manifest")


def differences(old: Path, new: Path, patterns: Sequence[str] = COMPARED) -> Iterator[str]:
    """A sentence on each file that is in one run alone or not the same in both."""
    before, after = files(old, patterns), files(new, patterns)
    for name in sorted(before ^ after):
        yield f"{name}: only in {old if name in before else new}"
    for name in sorted(before & after):
        if not name.endswith(".parquet"):
            if sha256(old / name) != sha256(new / name):
                yield f"{name}: other bytes"
        else:
            yield from (f"{name}: {what}" for what in differing_values(old / name, new / name))


def files(folder: Path, patterns: Sequence[str] = COMPARED) -> set[str]:
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    return {path.relative_to(folder).as_posix() for path in found if path.is_file() and path.stem not in LEFT_OUT}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differing_values(old: Path, new: Path) -> Iterator[str]:
    """What differs between the tables of two parquet files: rows, columns, types, values."""
    before, after = pq.read_table(old).to_pandas(), pq.read_table(new).to_pandas()
    for name in before.columns.symmetric_difference(after.columns, sort=False):
        yield f"column {name} is only in the {'first' if name in before else 'second'}"
    if len(before) != len(after):
        yield f"{len(before)} rows and {len(after)} rows"
        return
    for name in before.columns.intersection(after.columns, sort=False):
        one, two = before[name], after[name]
        if one.dtype != two.dtype:
            yield f"column {name} is {one.dtype} and {two.dtype}"
        elif values_sha256(one) != values_sha256(two):
            yield f"column {name} differs {_how(one, two)}"


def values_sha256(column: pd.Series) -> str:
    """Of a column's values alone; every NaN counts as the same."""
    if column.dtype.kind in "biuf":
        values = column.to_numpy(copy=True)
        if column.dtype.kind == "f":
            values[np.isnan(values)] = np.nan
        return hashlib.sha256(values.tobytes()).hexdigest()
    texts = ("null" if one is None or one is pd.NA else repr(one) for one in column.tolist())
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _how(one: pd.Series, two: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(one) and not pd.api.types.is_bool_dtype(one):
        a, b = (column.to_numpy(float, na_value=np.nan) for column in (one, two))
        unequal = (a != b) & ~(np.isnan(a) & np.isnan(b))
        apart = np.abs(a - b)[unequal & np.isfinite(a) & np.isfinite(b)]
        lost = int((np.isnan(a) != np.isnan(b)).sum())
        largest = f"by {apart.max():.3g} at most" if apart.size else "in no finite value"
        return f"in {int(unequal.sum())} of {len(a)} rows, {largest}" + (f"; {lost} null in one alone" if lost else "")
    pairs = list(zip(one.tolist(), two.tolist(), strict=True))
    unequal_rows = [row for row, (a, b) in enumerate(pairs) if repr(a) != repr(b)]
    a, b = pairs[unequal_rows[0]]
    return f"in {len(unequal_rows)} of {len(pairs)} rows, first in row {unequal_rows[0]}: {a!r} and {b!r}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("old", type=Path, help="folder of the first run")
    parser.add_argument("new", type=Path, help="folder of the second run")
    parser.add_argument("--metrics", action="store_true", help="also results/metrics and results/datasets")
    options = parser.parse_args(arguments)
    patterns = (*COMPARED, *MORE) if options.metrics else COMPARED
    compared = files(options.old, patterns) & files(options.new, patterns)
    found = list(differences(options.old, options.new, patterns))
    if not compared:
        found.append("nothing to compare: no file is in both runs")
    print(*found, f"{len(compared)} files in both runs, {len(found)} differences", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
