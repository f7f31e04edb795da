"""The sha256 of files: taken, compared, and the sentence where it differs."""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError

CHUNK = 1 << 20  # bytes read at once
SHOW_PROGRESS_FROM = 256 << 20  # hashing below this takes well under a second


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in chunks; large files show their progress."""
    digest = hashlib.sha256()
    with path.open("rb") as stream, _bar(path) as bar:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            if bar is not None:
                bar.update(len(chunk))
    return digest.hexdigest()


def _bar(path: Path) -> contextlib.AbstractContextManager[Any]:
    size = path.stat().st_size
    if size < SHOW_PROGRESS_FROM:
        return contextlib.nullcontext()
    try:
        from tqdm import tqdm
    except ImportError:  # a plan is made by Snakemake's own Python, where the jobs' may have an environment of theirs
        return contextlib.nullcontext()
    return tqdm(total=size, desc=f"sha256 {path.name}", unit="B", unit_scale=True, mininterval=1)


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether `path` is a file with this sha256."""
    return path.is_file() and sha256_file(path) == sha256.lower()


def check_sha256(path: Path, sha256: str, what: str) -> None:
    """Raises AtlasError, naming both hashes, unless `path` has this sha256."""
    found = sha256_file(path)
    if found != sha256.lower():
        raise wrong_hash(what, sha256, found)


def wrong_hash(what: str, expected: str, found: str) -> AtlasError:
    return AtlasError(
        f"{what} has sha256 {found}, not the pinned {expected}: the file is damaged or was replaced at its origin; "
        "try again, and if it stays so, check the origin before changing the pin."
    )
