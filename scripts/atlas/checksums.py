"""The sha256 of files: taken, compared, and the sentence where it differs."""

import hashlib
from pathlib import Path

from tqdm import tqdm

from atlas.errors import AtlasError

CHUNK = 1 << 20  # bytes read at once
SHOW_PROGRESS_FROM = 256 << 20  # hashing below this takes well under a second


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in chunks; large files show their progress."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with (
        path.open("rb") as stream,
        tqdm(
            total=size,
            desc=f"sha256 {path.name}",
            unit="B",
            unit_scale=True,
            mininterval=1,
            disable=size < SHOW_PROGRESS_FROM,
        ) as bar,
    ):
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


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
