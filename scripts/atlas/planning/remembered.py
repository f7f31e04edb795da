"""What was read from a source file in a run before, by the content of the file: to read all of ours takes a second.

Kept where Python keeps compiled code, and only where it may (`PYTHONDONTWRITEBYTECODE`, `PYTHONPYCACHEPREFIX`).
Nothing in it goes out of date: other content of the file, another Python or another word of the code that reads is
another key.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

__all__ = ["Memory", "remembered"]

# Of entries that a run did not ask for: those of other branches, some hundred files each.
_OTHERS = 2_000


class Memory:
    """Values by what was asked of which content, in one file of JSON.

    readers: the files whose code makes the values.
    """

    def __init__(self, file: Path, readers: list[Path]) -> None:
        self.file = file
        self._salt = hashlib.sha256(sys.version.encode())
        for reader in readers:
            self._salt.update(reader.read_bytes())
        self._known = self._read()
        self._used: dict[str, Any] = {}

    def value(self, what: str, path: str, work: Callable[[], Any]) -> Any:
        """What work() gives for `path`, made of JSON's types; it is called if no file of this content is remembered.

        Raises OSError, and what work() does, of which nothing is remembered.
        """
        key = self._salt.copy()
        key.update(what.encode())
        key.update(Path(path).read_bytes())
        name = key.hexdigest()[:40]
        if name not in self._used:
            self._used[name] = self._known[name] if name in self._known else work()
        return self._used[name]

    def save(self) -> None:
        """Write the file, if there is something new and the place can be written to."""
        if self._used.keys() <= self._known.keys():
            return
        others = [name for name in self._known if name not in self._used][-_OTHERS:]
        content = {name: self._known[name] for name in others} | self._used
        unfinished = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(content), encoding="utf-8")
            unfinished.replace(self.file)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or cut off
            return {}
        return content if isinstance(content, dict) else {}


def remembered(what: str, path: str, work: Callable[[], Any]) -> Any:
    """What work() gives for the file at `path`: Memory.value of the planner's own memory."""
    return _memory().value(what, path, work)


@cache
def _memory() -> Memory:
    folder = Path(__file__).parent
    readers = [folder / name for name in ("imports.py", "library.py", "remembered.py")]
    memory = Memory(
        Path(cache_from_source(__file__)).with_name(f"sources.{sys.implementation.cache_tag}.json"), readers
    )
    if not sys.dont_write_bytecode:
        atexit.register(memory.save)
    return memory
