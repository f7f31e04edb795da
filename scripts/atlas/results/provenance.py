"""provenance.json beside everything that was brought in: where from, which version, what bytes.

The same source gives the same bytes of this file: no dates, no folders of this machine beyond those in the config. The
record is sealed as results are: it holds the sha256 of its own bytes, taken with 64 zeros in that place.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas import json_text
from atlas.checksums import sha256_file
from atlas.disk import disk_errors
from atlas.errors import AtlasError

NAME = "provenance.json"
ROWS = "rows_from"  # the files that rows are read from, in this order, where the source says which
_SEAL, _BLANK = "record_sha256", "0" * 64
# At the top of the record: a text within it holds no line break.
_PLACE = re.compile(rb'\n  "record_sha256": "([0-9a-f]{64})"')


def file_record(folder: Path) -> dict[str, dict]:
    """name -> {sha256, size in bytes} of every file below `folder`, sorted by name, without provenance.json itself."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "size": path.stat().st_size}
        for path in paths
    }


def write_provenance(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a folder, sealed. Raises AtlasError where the disk is full or may not be written."""
    blank = json.dumps({**record, _SEAL: _BLANK}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(blank.encode()).hexdigest()
    with disk_errors(folder / NAME):
        (folder / NAME).write_bytes(_PLACE.sub(f'\n  "{_SEAL}": "{digest}"'.encode(), blank.encode(), count=1))


def check_files(folder: Path, files: list[Path]) -> None:
    """Raises AtlasError for the first of `files` whose bytes are not those of the record of `folder`, and for a file
    that came in later or is gone; nothing where the folder has no record."""
    if not (folder / NAME).is_file():
        return
    recorded = read_provenance(folder)["files"]
    for path in files:
        facts = recorded.get(path.relative_to(folder).as_posix())
        if not path.is_file():
            raise lost(path, folder)
        if facts is None or facts["sha256"] != sha256_file(path):
            raise AtlasError(
                f"{path} was changed since it was brought in (its sha256 differs): delete {folder} and run again."
            )
    for name in recorded:
        if not (folder / name).is_file():
            raise lost(folder / name, folder)
    refuse_added(folder, recorded)


def rows_from(folder: Path) -> list[Path]:
    """The files that rows are read from, as the source of a folder has said; none where it said nothing."""
    return [folder / name for name in read_provenance(folder).get(ROWS, ())] if (folder / NAME).is_file() else []


def lost(path: Path, folder: Path) -> AtlasError:
    """The error for a recorded file that is not there, or is a link to one that is not."""
    if path.is_symlink():
        return AtlasError(
            f"{path} is a link to {path.readlink()}, which is gone: the hub's cache was cleaned or moved, or its disk "
            f"is not there. Bring it back, or delete {folder} and run again, which downloads it anew."
        )
    return AtlasError(f"{path} is missing: delete {folder} and run again.")


def is_hidden(name: str) -> bool:
    """Whether a file, by its name within a folder, is one that systems and Snakemake leave behind."""
    return any(part.startswith(".") for part in Path(name).parts)


def refuse_added(folder: Path, recorded: Mapping[str, object]) -> None:
    """Raises AtlasError for a file that was put there later: a generation_config.json would be read with the others."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not is_hidden(name) and name != NAME and name not in recorded:
            raise AtlasError(
                f"{path} is not among the files that were brought in, and would be read with them: take it away, or "
                f"delete {folder} and run again."
            )


def read_provenance(folder: Path) -> dict[str, Any]:
    """The record of a folder. Raises AtlasError if it is missing, or has not the bytes that were written."""
    path = folder / NAME
    try:
        content = path.read_bytes()
        found = _PLACE.search(content)
        if found is None:
            raise ValueError("it carries no checksum of its own")
        blank = content[: found.start(1)] + _BLANK.encode() + content[found.end(1) :]
        if hashlib.sha256(blank).hexdigest() != found[1].decode():
            raise ValueError("its sha256 differs")
        record: dict[str, Any] = json_text.load(content)
        record["files"].items()
    except FileNotFoundError as error:
        raise AtlasError(
            f"{path} is missing: {folder} was not made by this workflow or is incomplete; delete it and run again."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AtlasError(f"{path} is damaged, or of an older version: delete {folder} and run again.") from error
    del record[_SEAL]
    return record
