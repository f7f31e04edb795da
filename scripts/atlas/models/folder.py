"""A finished model folder, checked before each load.

Apart from sources.py, so that a change to how models are downloaded does not re-run what reads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.checksums import sha256_file
from atlas.errors import AtlasError
from atlas.models.safetensors_files import read_header
from atlas.results.provenance import NAME, read_provenance

# Up to this size a folder's sha256 takes a second or two, less than the libraries that a job imports.
_HASHED_BELOW = 1 << 30
_hashed: dict[tuple[Path, int, int], str] = {}  # what this process has hashed: a job checks a folder more than once


def check_model_folder(folder: Path, full: bool | None = None) -> dict[str, Any]:
    """Checks that a model folder is complete and unchanged; cheap enough for before every load.

    Every recorded file must be there with its size, no other may, and every safetensors header must fit its file.
    `full` compares the sha256 of each file too; by default where all files together are below 1 GiB, and of any file
    written after the record was. Returns the provenance record. Raises AtlasError that names the first bad file.
    """
    folder = Path(folder)
    record = read_provenance(folder)
    small = sum(facts["size"] for facts in record["files"].values()) < _HASHED_BELOW
    recorded = (folder / NAME).stat().st_mtime_ns
    again = f"delete {folder} and run again"
    for name, facts in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise AtlasError(f"{path} is missing: {again}.")
        if path.stat().st_size != facts["size"]:
            raise AtlasError(
                f"{path} has {path.stat().st_size} bytes instead of {facts['size']}: it was cut off or "
                f"changed; {again}."
            )
        if path.suffix == ".safetensors":
            read_header(path)
        hashed = small or path.stat().st_mtime_ns > recorded if full is None else full
        if hashed and _sha256(path) != facts["sha256"]:
            raise AtlasError(f"{path} was changed since it was brought in (its sha256 differs): {again}.")
    _refuse_added(folder, record["files"])
    return record


def _refuse_added(folder: Path, recorded: Mapping[str, object]) -> None:
    """A file that was put there later, such as a generation_config.json, would be read with the others."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)  # what systems and Snakemake leave behind
        if path.is_file() and not hidden and name != NAME and name not in recorded:
            raise AtlasError(
                f"{path} is not among the files that were brought in, and would be read with them: take it away, or "
                f"delete {folder} and run again."
            )


def _sha256(path: Path) -> str:
    facts = path.stat()
    key = (path.resolve(), facts.st_size, facts.st_mtime_ns)
    if key not in _hashed:
        _hashed[key] = sha256_file(path)
    return _hashed[key]
