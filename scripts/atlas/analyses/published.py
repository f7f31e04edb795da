"""Published tables by name, for readers outside a job: a job is told the columns that it reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from atlas.analyses.registry import TABLES
from atlas.results import tables
from atlas.results.files import write_frame


def read_table(path: str | Path, table: str) -> pd.DataFrame:
    """The frame at `path`. Raises AtlasError unless it has the columns of `table`."""
    return tables.read_table(path, TABLES[table])


def write_table(path: str | Path, frame: pd.DataFrame, table: str, provenance: dict[str, Any]) -> None:
    """Write `frame` as parquet under the columns of `table`, with `provenance` in its metadata."""
    write_frame(path, tables.conform(frame, TABLES[table], path).reset_index(drop=True), provenance)
