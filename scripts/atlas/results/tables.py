"""The published tables: columns checked against their contract, parquet and csv, and checksums of the figures."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.errors import AtlasError
from atlas.results.files import read_frame, read_provenance, replacing

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
CSV_LIMIT = 10 * 2**20  # a csv is written beside a table whose csv stays below this many bytes


def conform(frame: pd.DataFrame, columns: Mapping[str, str], source: object = "the result") -> pd.DataFrame:
    """`frame` with the columns and types of `columns`, in that order; extra or missing columns are an error."""
    missing, extra = set(columns) - set(frame.columns), set(frame.columns) - set(columns)
    if missing or extra:
        raise AtlasError(
            f"{source}: not the table that it should be (missing columns: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown: {', '.join(sorted(extra)) or 'none'}); delete the file and run again."
        )
    return frame[list(columns)].astype(dict(columns))


def read_table(path: str | Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """The frame at `path`, checked against `columns`."""
    return conform(read_frame(path), columns, path)


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write `frame` as csv; above CSV_LIMIT bytes write a one-line file that says so and names the parquet file.

    A text that a spreadsheet would reckon stands behind an apostrophe, which spreadsheets do not show.
    """
    path, frame = Path(path), _without_formulas(frame)
    form: dict[str, Any] = {"index": False, "lineterminator": "\n", "quoting": _quoting(frame)}
    start = frame.head(2000).to_csv(**form)
    size = len(start) * max(len(frame), 1) / max(len(frame.head(2000)), 1)
    with replacing(path) as temporary:
        if size > CSV_LIMIT:
            temporary.write_text(
                f"not written: {len(frame)} rows would take about {size / 2**20:.0f} MiB; read {path.stem}.parquet\n"
            )
        else:
            frame.to_csv(temporary, **form)


def _without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with an apostrophe before each text that begins as a formula does: `=HYPERLINK(...)` as the id of a row.

    The parquet file beside it has every text as it is.
    """
    texts = [name for name, kind in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    return frame.assign(**{str(name): frame[name].map(_no_formula, na_action="ignore") for name in texts})


def _quoting(frame: pd.DataFrame) -> int:
    """Python before 3.11.9 and 3.12.3 puts no quotes around a lone carriage return, which then ends the row."""
    texts = (frame[name] for name, kind in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(kind))
    returns = any(isinstance(value, str) and "\r" in value for column in texts for value in column)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def concatenate(paths: Iterable[str | Path], columns: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The tables at `paths` under each other, and their provenance documents by path."""
    paths = list(paths)
    frames = [read_table(path, columns) for path in paths]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns))
    return conform(frame, columns), {Path(path).as_posix(): read_provenance(path) for path in paths}


def write_manifest(path: str | Path, files: Iterable[str | Path]) -> None:
    """Write the sha256 of `files` in the format of sha256sum."""
    lines = [f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {Path(file).as_posix()}\n" for file in files]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
