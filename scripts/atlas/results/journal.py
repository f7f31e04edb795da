"""Work done so far, one JSON line a piece, so that a job that was killed goes on where it stopped."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from atlas.disk import disk_errors, replacing


class Journal:
    """Finished pieces of a job under a key; a file written under another key is started anew.

    The key, anything JSON can hold, says what the pieces depend on (model revision, options, texts). The file is only
    appended to. What a kill or a full disk cut off is dropped, alone, by a new file that takes the old one's place once
    it stands. `remove` deletes the file once the job's result is written. Raises AtlasError where the disk is full.
    """

    def __init__(self, path: str | Path, key: Any) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.head = hashlib.sha256(json.dumps(key, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        self.pieces, whole = self._read()
        if not whole:
            with replacing(self.path) as temporary, temporary.open("wb") as file:
                file.write(json.dumps(self.head).encode() + b"\n")
                file.writelines(_line(name, value) for name, value in self.pieces.items())

    def __contains__(self, name: str) -> bool:
        return name in self.pieces

    def __getitem__(self, name: str) -> Any:
        return self.pieces[name]

    def add(self, name: str, value: Any) -> None:
        """Keep `value` (anything JSON can hold) under the text `name`."""
        self.pieces[name] = value
        with disk_errors(self.path), self.path.open("ab", buffering=0) as file:
            rest = memoryview(_line(name, value))
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())

    def remove(self) -> None:
        """Delete the file: the job's result is written."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], bool]:
        """(the pieces that are whole, whether the file holds nothing else), line by line and as bytes.

        A line that was cut inside a character is no text, and must not take the others with it.
        """
        try:
            head, *lines = self.path.read_bytes().split(b"\n")
        except OSError:
            return {}, False
        if _parsed(head) != self.head or not lines:
            return {}, False
        pieces: dict[str, Any] = {}
        whole = lines.pop() == b""  # what stands behind the last line's end
        for line in lines:
            match _parsed(line):
                case [str(name), value]:
                    pieces[name] = value
                case _:
                    whole = False
        return pieces, whole


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _line(name: str, value: Any) -> bytes:
    return json.dumps([name, value]).encode() + b"\n"  # in ASCII, which also holds halves of surrogate pairs
