"""How many rows a data set has: what its entry tells, for requests, and what lies on this machine, for a forecast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from atlas.data.depth_folder import is_depth_folder
from atlas.data.readers import data_files, iterate_rows
from atlas.data.relations_folder import is_relations_folder, listed_files, relations_files
from atlas.errors import AtlasError
from atlas.fetch.entries import describe_source
from atlas.planning.estimates import PAIRS, RELATIONS, ROWS, TREE
from atlas.results.provenance import read_provenance, rows_from

_LINES = (".jsonl", ".ndjson", ".csv", ".tsv", ".txt")  # a row on each line, more or less
_LARGE = 1 << 26  # bytes; of larger files lines are counted, which a forecast needs no better
_READ = 1 << 20
_SINGLE = 0.28  # of the shipped pairs are single tokens on both sides to a model, on average


class Rows(NamedTuple):
    """Rows of a data set, as its `sample` or `limit` leaves them; of relations the pairs that a model is left with."""

    rows: int
    relations: int = RELATIONS


def planned_rows(entry: Mapping[str, Any]) -> Rows:
    """What an entry tells by itself; 1,000 rows, or 2,000 pairs of 20 relations, where it tells nothing."""
    relations = len(entry.get("relations") or ()) or RELATIONS
    usual = PAIRS * relations // RELATIONS if entry["kind"] == "relations" else ROWS
    asked = _asked(entry, relations)
    return Rows(usual if asked is None else asked, relations)


def rows_at_hand(entry: Mapping[str, Any], project: Path, downloaded: Path | None = None) -> Rows | None:
    """The same of what lies here: under `path`, or in `downloaded`, if that was made of the entry's source.

    project: where relative paths begin. None where nothing is here, or it cannot be read: its job says why.
    """
    source = entry["source"]
    places = source if isinstance(source, list) else [source]
    paths = [project / Path(place["path"]).expanduser() for place in places if "path" in place]
    try:
        raw = next((path for path in paths if path.exists()), None)
        if raw is None and downloaded is not None and downloaded.is_dir():
            made_of = read_provenance(downloaded)["source"]
            raw = downloaded if made_of in [describe_source(place) for place in places] else None
        return None if raw is None else _counted(entry, raw)
    except (AtlasError, OSError, ImportError):  # a Snakemake of its own may lack what reads parquet
        return None


def most_rows(entry: Mapping[str, Any], here: Rows | None) -> int | None:
    """Rows that a data set has at most, None where that is not known; here: as rows_at_hand counts them."""
    asked = _asked(entry, 1)
    if entry["kind"] in ("depth", "relations") and asked is not None:  # graphs differ in size
        return None
    known = [number for number in (asked, here and here.rows) if number is not None]
    return min(known, default=None)


def _counted(entry: Mapping[str, Any], raw: Path) -> Rows | None:
    files, relations = _files(entry, raw)
    counts = [_rows_of(file, entry) for file in files]
    if None in counts:
        return None
    rows = sum(count for count in counts if count is not None)
    if entry["kind"] == "relations":
        relations = relations or len(dict.fromkeys(_relations(files, entry)))
        rows = round(rows * _SINGLE)
    asked = _asked(entry, relations or RELATIONS)
    return Rows(max(1, rows if asked is None else min(rows, asked)), relations or RELATIONS)


def _files(entry: Mapping[str, Any], raw: Path) -> tuple[list[Path], int]:
    """The files that rows stand in, and how many relations they are of; 0 where a column says which."""
    listed = entry.get("relations")
    if listed:
        return listed_files(raw, listed), len(listed)
    if entry["kind"] == "relations" and is_relations_folder(raw):
        files = relations_files(raw, _encoding(entry))[1:]
        return files, len(files)
    if entry["kind"] == "depth" and is_depth_folder(raw):
        return data_files(raw / "questions"), 0
    return (rows_from(raw) if raw.is_dir() else []) or data_files(raw), 0


def _rows_of(file: Path, entry: Mapping[str, Any]) -> int | None:
    given = entry.get("format") or "auto"
    if given == "parquet" or (given == "auto" and file.suffix == ".parquet"):
        return _rows_of_parquet(file)
    if file.stat().st_size <= _LARGE:
        return sum(1 for _ in iterate_rows([file], given, _encoding(entry), entry.get("records")))
    if file.suffix not in _LINES:
        return None
    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(_READ), b""))


def _rows_of_parquet(file: Path) -> int:
    import pyarrow
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(file).num_rows)
    except pyarrow.ArrowException as error:
        raise AtlasError(f"{file} is no complete parquet file.") from error


def _relations(files: list[Path], entry: Mapping[str, Any]) -> Iterator[str]:
    """The relation of each row of a data set in one file."""
    column = (entry.get("columns") or {}).get("relation", "relation")
    for row in iterate_rows(files, entry.get("format") or "auto", _encoding(entry), entry.get("records")):
        yield str(row.values.get(column))


def _encoding(entry: Mapping[str, Any]) -> str:
    return entry.get("encoding") or "utf-8"


def _asked(entry: Mapping[str, Any], relations: int) -> int | None:
    """Rows of what `sample` or `limit` counts: rows, graphs of questions, or pairs of each relation."""
    number = (entry.get("sample") or {}).get("n") or entry.get("limit")
    units = {"depth": TREE, "relations": relations}
    return number * units.get(entry["kind"], 1) if number else None
