"""Small tools for bringing files in: hashing, linking, atomic replacement, safe names."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tqdm import tqdm

from atlas.errors import AtlasError

CHUNK = 1 << 20
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


def closest(name: str, names: Iterable[str]) -> str:
    """' (nearest: a, b)' for a message about an unknown name, or ''."""
    names = sorted(names)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if not near:  # paths differ in their folders more than in their last part
        last = PurePosixPath(name).name
        near = [other for other in names if PurePosixPath(other).name == last][:3]
    return f" (nearest: {', '.join(near)})" if near else ""


def plain_name(name: str, what: str) -> str:
    """`name` itself if it is the name of a file inside a folder (no separators, no '..'), else AtlasError."""
    if not name or name in {".", ".."} or "/" in name or "\\" in name or "\0" in name:
        raise AtlasError(
            f"{what} would be stored as {name!r}, which is not a plain file name; give a name without folders."
        )
    return name


def public_url(url: str) -> str:
    """The URL without user name, password, query and fragment: they may be secret and reach no file and no log."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows it (weights are large and never edited), else a copy."""
    source = source.resolve()
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        with disk_errors(target):
            shutil.copyfile(source, target)


@contextmanager
def disk_errors(target: Path):
    """Turns a full disk or a missing permission while writing `target` into one sentence."""
    try:
        yield
    except AtlasError:
        raise
    except Exception as error:
        # safetensors has an exception of its own, which carries the number of the system's error in its text
        if not isinstance(error, OSError):
            if "os error 28" in str(error):
                raise AtlasError(f"the disk is full while writing {target}: free some space and run again.") from error
            raise
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise AtlasError(f"the disk is full while writing {target}: free some space and run again.") from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise AtlasError(f"{target} cannot be written ({error.strerror}): check the permissions.") from error
        raise


@contextmanager
def fresh_folder(folder: Path):
    """Builds `folder` aside and puts it in place in one step; on any failure nothing of it stays.

    Yields the folder to fill, a hidden sibling of `folder`; an older `folder` is replaced only on success.
    """
    building = folder.with_name(f".{folder.name}.building")
    old = folder.with_name(f".{folder.name}.old")
    for leftover in (building, old):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with disk_errors(folder):
        building.mkdir(parents=True)
    try:
        with disk_errors(folder):
            yield building
            if folder.exists():
                folder.rename(old)
            building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
