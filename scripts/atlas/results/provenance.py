"""provenance.json beside everything that was brought in: where from, which version, what bytes.

The same source gives the same bytes of this file: no dates, no folders of this machine beyond those in the config.
"""

import json
from pathlib import Path

from atlas.checksums import sha256_file
from atlas.errors import AtlasError

NAME = "provenance.json"


def file_record(folder: Path) -> dict[str, dict]:
    """name -> {sha256, size in bytes} of every file below `folder`, sorted by name, without provenance.json itself."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "size": path.stat().st_size}
        for path in paths
    }


def write_provenance(folder: Path, record: dict) -> None:
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def check_files(folder: Path, files: list[Path]) -> None:
    """Raises AtlasError for the first of `files` whose bytes are not those of the record of `folder`, if it has one."""
    if not (folder / NAME).is_file():
        return
    recorded = read_provenance(folder)["files"]
    for path in files:
        facts = recorded.get(path.relative_to(folder).as_posix())
        if facts is None or facts["sha256"] != sha256_file(path):
            raise AtlasError(
                f"{path} was changed since it was brought in (its sha256 differs): delete {folder} and run again."
            )


def read_provenance(folder: Path) -> dict:
    """The record of a folder. Raises AtlasError if it is missing or unreadable."""
    path = folder / NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["files"].items()
    except FileNotFoundError as error:
        raise AtlasError(
            f"{path} is missing: {folder} was not made by this workflow or is incomplete; delete it and run again."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AtlasError(f"{path} is damaged: delete {folder} and run again.") from error
    return record
