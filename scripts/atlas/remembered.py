"""The sha256 of a file that may be large: read once, and then again only when the file system says that something
happened to it. Times say nothing by themselves: an older file that takes a newer one's place is another file.
"""

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from pathlib import Path

__all__ = ["Memory", "Reading", "read", "sha256_once", "size_of"]

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


def sha256_once(path: Path, remembered: Path) -> str:
    """Hex sha256 of a file; of a large one as `remembered` has it, unless something happened to it since.

    Its times say nothing by themselves: a file that was moved or copied there with older times has another inode.
    """
    memory = Memory(remembered)
    return memory.known(path) or read(path, Reading(path, size_of(path)), memory)


class Reading:
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


def read(path: Path, reading: Reading, memory: "Memory") -> str:
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


class Memory:
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


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
