"""What a user hands in, by its bytes: a digest of a file, or of a folder by its files.

Times say nothing here: an older file that takes a newer one's place is another file, a touched one is the same. Large
files are read once and then again only when the file system says that something happened to them.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from atlas import remembered as sums

MISSING = "missing"
CACHE = Path("results/downloads/content.json")  # of the working directory; it may be deleted at any time


@cache
def content(path: Path, counts: Callable[[str], bool] | None = None, remembered: Path = CACHE) -> str:
    """16 hex digits of what stands in a file, or in a folder: names and bytes. "missing" if nothing is there.

    Hidden files and __pycache__ are left out; a symlink counts as what it leads to, a broken one by where it points.
    counts: which files of a folder matter, asked with each relative name (default: all). remembered: the JSON file that
    keeps the digests of large files. Read once by a process: a plan is of one moment.
    """
    path = Path(path).expanduser()
    if not path.exists():
        return MISSING
    memory = sums.Memory(remembered)
    if not path.is_dir():
        [(_, digest)] = _digests(path, [_Found("", path)], memory)
        return digest[:16]
    found = [one for one in _walk(path) if counts is None or counts(one.name)]
    lines = (f"{name}\0{digest}\n" for name, digest in _digests(path, found, memory))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class _Found:
    """A file of a folder by its relative name; `instead` is what stands for one that cannot be read."""

    name: str
    path: Path
    instead: str | None = None


def _walk(folder: Path) -> Iterator[_Found]:
    """The files below a folder, sorted. A folder reached a second time, by a symlink, is named and not entered."""
    entered: dict[tuple[int, int], str] = {}

    def below(place: Path, prefix: str) -> Iterator[_Found]:
        facts = place.stat()
        key = (facts.st_dev, facts.st_ino)
        if key in entered:
            yield _Found(prefix, place, f"again {entered[key]}")
            return
        entered[key] = prefix
        try:
            names = sorted(os.listdir(place))
        except OSError:
            yield _Found(prefix, place, "unreadable")
            return
        for name in names:
            if name.startswith(".") or name == "__pycache__":
                continue
            path = place / name
            if path.is_dir():
                yield from below(path, f"{prefix}{name}/")
            elif path.is_symlink() and not path.exists():
                yield _Found(f"{prefix}{name}", path, f"broken {os.readlink(path)}")
            else:
                yield _Found(f"{prefix}{name}", path)

    yield from below(folder, "")


def _digests(whole: Path, found: list[_Found], memory: sums.Memory) -> Iterator[tuple[str, str]]:
    """(name, sha256 or what stands for it) of each file, with a word on stderr where that takes long."""
    unread = sum(sums.size_of(one.path) for one in found if one.instead is None and memory.known(one.path) is None)
    reading = sums.Reading(whole, unread)
    for one in found:
        yield one.name, one.instead or memory.known(one.path) or sums.read(one.path, reading, memory)
