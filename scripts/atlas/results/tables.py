"""The published tables: columns checked against their contract, parquet and csv, and checksums of the figures."""

import hashlib
from pathlib import Path

import pandas as pd

from atlas.results.contracts import TABLES
from atlas.errors import AtlasError
from atlas.results.files import read_frame, read_provenance, replacing, write_frame

CSV_LIMIT = 10 * 2**20  # a csv is written beside a table whose csv stays below this many bytes


def conform(frame, table, source="the result"):
    """`frame` with the columns and types of TABLES[table], in that order; extra or missing columns are an error."""
    schema = TABLES[table]
    missing, extra = set(schema) - set(frame.columns), set(frame.columns) - set(schema)
    if missing or extra:
        raise AtlasError(
            f"{source}: not a {table} table (missing columns: {sorted(missing)}, unknown: {sorted(extra)}); "
            "delete the file and run again."
        )
    return frame[list(schema)].astype(schema)


def write_table(path, frame, table, provenance):
    """Write `frame` as parquet under the contract TABLES[table], with `provenance` in its metadata."""
    frame = conform(frame, table, str(path)).reset_index(drop=True)
    write_frame(path, frame, provenance)


def read_table(path, table):
    """The frame at `path`, checked against TABLES[table]."""
    return conform(read_frame(path), table, str(path))


def write_csv(path, frame):
    """Write `frame` as csv; above CSV_LIMIT bytes write a one-line file that says so and names the parquet file."""
    path = Path(path)
    start = frame.head(2000).to_csv(index=False, lineterminator="\n")
    size = len(start) * max(len(frame), 1) / max(len(frame.head(2000)), 1)
    with replacing(path) as temporary:
        if size > CSV_LIMIT:
            temporary.write_text(
                f"not written: {len(frame)} rows would take about {size / 2**20:.0f} MiB; read {path.stem}.parquet\n"
            )
        else:
            frame.to_csv(temporary, index=False, lineterminator="\n")


def concatenate(paths, table):
    """The tables at `paths` under each other, and their provenance documents by path."""
    frames = [read_table(path, table) for path in paths]
    frame = pd.concat(frames, ignore_index=True)
    return conform(frame, table), {Path(path).as_posix(): read_provenance(path) for path in paths}


def write_manifest(path, files):
    """Write the sha256 of `files` in the format of sha256sum."""
    lines = [f"{hashlib.sha256(Path(file).read_bytes()).hexdigest()}  {Path(file).as_posix()}\n" for file in files]
    with replacing(path) as temporary:
        temporary.write_text("".join(lines))
