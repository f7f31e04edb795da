"""Work done so far, one JSON line a piece, so that a job that was killed goes on where it stopped."""

import hashlib
import json
from pathlib import Path
from typing import Any


class Journal:
    """Finished pieces of a job under a key; a file written under another key is started anew.

    The key, anything JSON can hold, says what the pieces depend on (model revision, options, texts). A line that was cut off when the job was
    killed is dropped. `remove` deletes the file once the job's result is written.
    """

    def __init__(self, path: str | Path, key: Any) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.head = hashlib.sha256(json.dumps(key, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        self.pieces = self._read()
        with self.path.open("w", encoding="utf-8") as file:  # also drops a line that was cut off
            file.write(json.dumps(self.head) + "\n")
            file.writelines(_line(name, value) for name, value in self.pieces.items())

    def __contains__(self, name: str) -> bool:
        return name in self.pieces

    def __getitem__(self, name: str) -> Any:
        return self.pieces[name]

    def add(self, name: str, value: Any) -> None:
        """Keep `value` (anything JSON can hold) under the text `name`."""
        self.pieces[name] = value
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(name, value))
            file.flush()

    def remove(self) -> None:
        """Delete the file: the job's result is written."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
            if json.loads(lines[0]) != self.head:
                return {}
        except (OSError, ValueError):
            return {}
        pieces: dict[str, Any] = {}
        for line in lines[1:]:
            try:
                name, value = json.loads(line)
            except ValueError:
                continue
            pieces[name] = value
        return pieces


def _line(name: str, value: Any) -> str:
    return json.dumps([name, value], ensure_ascii=False) + "\n"
