"""A finished model folder, checked before each load.

Apart from sources.py, so that a change to how models are downloaded does not re-run what reads them.
"""

from pathlib import Path
from typing import Any

from atlas.checksums import sha256_file
from atlas.errors import AtlasError
from atlas.models.safetensors_files import read_header
from atlas.remembered import sha256_once
from atlas.results.provenance import lost, read_provenance, refuse_added

# Up to this size a folder's sha256 takes a second or two, less than the libraries that a job imports.
_HASHED_BELOW = 1 << 30
# What this process has hashed, by path, inode, size and times: a job checks a folder more than once.
_hashed: dict[tuple[Path, int, int, int, int], str] = {}


def check_model_folder(folder: Path, full: bool | None = None) -> dict[str, Any]:
    """Checks that a model folder is complete and unchanged; cheap enough for before every load.

    Every recorded file must be there with its size, no other may, and every safetensors header must fit its file.
    The sha256 of each file is compared too: where all files together are below 1 GiB, or `full` asks for it, they are
    read, else a large file is read once and then only when its inode, size or times are others, which is remembered
    beside the folder. Returns the provenance record. Raises AtlasError that names the first bad file.
    """
    folder = Path(folder)
    record = read_provenance(folder)
    small = sum(facts["size"] for facts in record["files"].values()) < _HASHED_BELOW
    read = full if full is not None else small
    remembered = folder.with_name(f".{folder.name}.sha256.json")
    again = f"delete {folder} and run again"
    for name, facts in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise lost(path, folder)
        if path.stat().st_size != facts["size"]:
            raise AtlasError(
                f"{path} has {path.stat().st_size} bytes instead of {facts['size']}: it was cut off or "
                f"changed; {again}."
            )
        if path.suffix == ".safetensors":
            read_header(path)
        if (_sha256(path) if read else sha256_once(path, remembered)) != facts["sha256"]:
            raise AtlasError(f"{path} was changed since it was brought in (its sha256 differs): {again}.")
    refuse_added(folder, record["files"])
    return record


def _sha256(path: Path) -> str:
    facts = path.stat()
    key = (path.resolve(), facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    if key not in _hashed:
        _hashed[key] = sha256_file(path)
    return _hashed[key]
