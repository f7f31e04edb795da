"""Putting what was fetched in place: links, folders built aside, names without folders."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.disk import disk_errors
from atlas.errors import AtlasError, reason
from atlas.results.provenance import NAME as PROVENANCE

_LONGEST = 250  # bytes; file systems take names of 255, and a file is first written as NAME.part


def plain_name(name: str, what: str) -> str:
    """`name` itself if it is the name of a file inside a folder (no separators, no '..'), else AtlasError."""
    if "/" in name or not is_plain_path(name):
        raise AtlasError(
            f"{what} would be stored as {name!r}, which is not a plain file name; give a name without folders."
        )
    return name


def is_plain_path(name: str) -> bool:
    """Whether `name` is a relative path that stands for itself: no '..', nothing that would be stored otherwise or not
    at all (signs that cannot be seen, parts of more than 250 bytes), and not the record that is kept with the files."""
    if "\\" in name or not name.isprintable() or name == PROVENANCE:  # what is printable is no half of a character
        return False
    return all(part not in ("", ".", "..") and len(part.encode()) <= _LONGEST for part in name.split("/"))


def below(folder: Path, name: str, what: str) -> Path:
    """The path of `name`, which may have folders, inside `folder`; every name from outside goes through here.

    what: whose name it is. Raises AtlasError where it would lie outside, or somewhere else than it says.
    """
    if not is_plain_path(name):
        raise AtlasError(
            f"{what} would be stored as {name!r}, which is no plain path inside its folder; write it without a slash "
            f"at its beginning, without '.' or '..', and not as {PROVENANCE}, which is the record of the files."
        )
    return folder / name


def existing(path: str | Path, what: str, base: Path = Path()) -> Path:
    """The file or folder that a user names by a path of this machine, `~` filled in; relative ones start from `base`.

    what: whose path it is. Raises AtlasError where nothing is there, or something that cannot be read to its end.
    """
    try:
        found = base / Path(path).expanduser()
        mode = found.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise AtlasError(f"{what} {path} does not exist: correct `path`.") from None
    except (OSError, ValueError, RuntimeError) as error:  # no such user, a name too long, a link to itself
        raise AtlasError(f"{what} {str(path)[:200]} cannot be used ({reason(error, 100)}): correct `path`.") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise AtlasError(f"{what} {path} is a pipe or a device, neither a file nor a folder: give one of these.")
    return found


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows it (weights are large and never edited).

    Else a copy; but of a symbolic link, as those into a cache on another disk, one more to the same file.
    """
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise
        with disk_errors(target):
            if source.is_symlink():
                target.symlink_to(real)
            else:
                shutil.copyfile(real, target)


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
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


def beside_weights(folder: Path) -> list[Path]:
    """Files of a finished model folder other than weights and record. Hidden ones are Snakemake's, not the model's."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".safetensors" and path.name != "provenance.json" and path.name[0] != "."
    )
