"""How many rows a data set has that lies on this machine already, for a forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_LINES = (".jsonl", ".csv", ".tsv", ".txt")  # a row on each line, more or less
_READ = 1 << 20


def rows_at_hand(entry: dict[str, Any], project: Path) -> int | None:
    """Rows of a data set's entry, as its `sample` or `limit` leaves them; None where its file is no list of lines here.

    project: where relative paths begin. A forecast needs no more than the size of the number: lines are counted.
    """
    source = entry["source"]
    path = project / Path(source["path"]).expanduser() if isinstance(source, dict) and "path" in source else None
    if path is None or path.suffix not in _LINES or not path.is_file():
        return None
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_READ), b""))
    asked = (entry.get("sample") or {}).get("n") or entry.get("limit")
    return max(1, min(lines, asked) if asked else lines)
