"""What a user hands in, by its bytes: a digest of a file, or of a folder by its files.

Times say nothing here: an older file that takes a newer one's place is another file, a touched one is the same. Large
files are read once and then again only when the file system says that something happened to them.
"""

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MISSING = "missing"
CACHE = Path("results/downloads/content.json")  # of the working directory; it may be deleted at any time

# Smaller files are read each time, which takes no longer than to look them up.
LARGE = 1 << 20
# From so many bytes on somebody may wonder what is going on.
SAID_FROM = 2 << 30
_SAID_EVERY = 30  # seconds
# A file written this recently may be written again without a change of its times, which some file systems keep in
# steps of two seconds.
_SETTLED_NS = 3_000_000_000
_BLOCK = 1 << 22
_VERSION = 1


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
    memory = _Memory(remembered)
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


def _digests(whole: Path, found: list[_Found], memory: "_Memory") -> Iterator[tuple[str, str]]:
    """(name, sha256 or what stands for it) of each file, with a word on stderr where that takes long."""
    unread = sum(_size(one.path) for one in found if one.instead is None and memory.known(one.path) is None)
    reading = _Reading(whole, unread)
    for one in found:
        yield one.name, one.instead or memory.known(one.path) or _read(one.path, reading, memory)


class _Reading:
    """Says on stderr how far the reading of something large is."""

    def __init__(self, what: Path, size: int) -> None:
        self._what, self._size, self._done = what, size, 0
        self._next = time.monotonic() + _SAID_EVERY
        if size >= SAID_FROM:
            self._say(f"Reading {what} ({size / 1e9:.0f} GB), to notice when it changes; next time only if it does.")

    def advance(self, size: int) -> None:
        self._done += size
        if self._size >= SAID_FROM and time.monotonic() > self._next:
            self._next = time.monotonic() + _SAID_EVERY
            self._say(f"Reading {self._what}: {self._done / 1e9:.0f} of {self._size / 1e9:.0f} GB.")

    @staticmethod
    def _say(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)


def _read(path: Path, reading: _Reading, memory: "_Memory") -> str:
    """The sha256 of a file; kept in memory if it is large and nobody wrote to it meanwhile."""
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            return "no file"  # a pipe or a device: opening it could wait for ever
        hashed = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                hashed.update(block)
                reading.advance(len(block))
        after = path.stat()
    except OSError as error:
        return f"unreadable {error.errno}"  # the job that needs it says so in full
    if after.st_size >= LARGE and _facts(before) == _facts(after) and _settled(after):
        memory.keep(path, after, hashed.hexdigest())
    return hashed.hexdigest()


class _Memory:
    """The digests of large files between runs: {resolved path: facts of its stat and its sha256}, as JSON.

    Right whatever happens to it: it is replaced as a whole, of two processes that write one may lose what it added, and
    what cannot be read or written is done without.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, dict] | None = None  # read when a large file is met

    def known(self, path: Path) -> str | None:
        """The sha256 of a file that has not changed since it was read."""
        try:
            facts = path.stat()
        except OSError:
            return None
        if facts.st_size < LARGE:
            return None
        if self._files is None:
            self._files = self._load()
        kept = self._files.get(str(path.resolve()))
        if kept is None or any(kept.get(key) != value for key, value in _lasting(facts).items()):
            return None
        # A hard link made or removed, as for a model of ours, changes the time of change, but then also the links.
        if kept.get("ctime_ns") == facts.st_ctime_ns or kept.get("links") != facts.st_nlink:
            return kept.get("sha256")
        return None

    def keep(self, path: Path, facts: os.stat_result, sha256: str) -> None:
        """Writes at once: whoever stops a long reading has what is done by then."""
        kept = {**_facts(facts), "links": facts.st_nlink, "sha256": sha256}
        # What others wrote meanwhile stays, what is gone does not.
        others = {name: known for name, known in self._load().items() if os.path.exists(name)}
        self._files = {**others, str(path.resolve()): kept}
        text = json.dumps({"version": _VERSION, "files": self._files}, indent=1, sort_keys=True)
        fresh = self._path.with_name(f".{self._path.name}.{os.uname().nodename}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                fresh.write_text(text + "\n", encoding="utf-8")
                fresh.replace(self._path)
            finally:
                fresh.unlink(missing_ok=True)

    def _load(self) -> dict[str, dict]:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            files = document["files"] if document["version"] == _VERSION else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return {name: kept for name, kept in files.items() if isinstance(kept, dict)}


def _lasting(facts: os.stat_result) -> dict[str, int]:
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns, "inode": facts.st_ino}


def _facts(facts: os.stat_result) -> dict[str, int]:
    return {**_lasting(facts), "ctime_ns": facts.st_ctime_ns}


def _settled(facts: os.stat_result) -> bool:
    """Whether a later change would show itself in the times (also where the clock was set back since)."""
    now = time.time_ns()
    return all(abs(now - when) > _SETTLED_NS for when in (facts.st_mtime_ns, facts.st_ctime_ns))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
