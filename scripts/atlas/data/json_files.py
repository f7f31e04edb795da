"""Rows out of JSON: one object a line, or one document that is an array or a mapping of records, or an array of pairs.

A key that stands twice in one object is refused: of two values Python's reader would keep the last and say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from atlas.data.text_files import read_text
from atlas.errors import AtlasError
from atlas.names import closest

# (line, or None where rows have none of their own; {column: value})
Found: TypeAlias = Iterator[tuple[int | None, dict[str, Any]]]

PAIR = ("source", "target")  # the columns of a pair
KEY = "key"  # the column with the key that a record has in a mapping


def read_json_lines(file: Path, encoding: str) -> Found:
    """One object a line; an array is read as well, as whatever writes JSON lines may have written it."""
    text = read_text(file, encoding)
    return _array(file, _parsed(file, text)) if text.lstrip()[:1] == "[" else _lines(file, text)


def read_json(file: Path, encoding: str) -> Found:
    """One document: an array of records or of pairs, or a mapping of records, whose keys become the column `key`."""
    text = read_text(file, encoding)
    if not text.strip():
        return iter(())
    return _document(file, _parsed(file, text))


def read_records(file: Path, encoding: str, key: str) -> Found:
    """The list or mapping that stands under a key of one document; dots lead into objects (`data.rows`)."""
    found, way = _parsed(file, read_text(file, encoding)), ""
    for part in [key] if isinstance(found, dict) and key in found else key.split("."):
        if not isinstance(found, dict):
            what = repr(way) if way else "the document"
            raise AtlasError(
                f"{file.name}: {what} is {_named(found)}, in which `records: {key}` finds nothing; correct it."
            )
        if part not in found:
            inside = f" in {way!r}" if way else ""
            raise AtlasError(f"{file.name} has no key {part!r}{inside}{closest(part, found)}: correct `records`.")
        found, way = found[part], f"{way}.{part}" if way else part
    if not isinstance(found, list | dict):
        raise AtlasError(f"{file.name}: {way!r} is {_named(found)}, not a list of records: correct `records`.")
    return _document(file, found)


def read_any_json(file: Path, encoding: str) -> Found:
    """For `format: auto`: a document or one object a line, whichever the text is.

    Raises AtlasError for one line that may be both, a mapping of records and a row with nested columns.
    """
    text = read_text(file, encoding)
    start = text.lstrip()
    if start[:1] != "{":
        return read_json_lines(file, encoding)
    first, _, others = start.partition("\n")
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        try:
            whole = json.loads(text)
        except (ValueError, RecursionError):
            return _lines(file, text)  # which names the line
        return _document(file, _parsed(file, text) if isinstance(whole, dict) else whole)
    if not others.strip() and row and all(isinstance(value, dict) for value in row.values()):
        raise AtlasError(
            f"{file.name} is one line that may be a mapping of records or a single row: set `format` to json or jsonl."
        )
    return _lines(file, text)


def _lines(file: Path, text: str) -> Found:
    # not splitlines(): U+2028 and its like may stand inside a JSON string
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        values = _parsed(file, content, line)
        if not isinstance(values, dict):
            raise AtlasError(
                f'{file.name} line {line} is not a JSON object but {_named(values)}: write {{"column": value}}.'
            )
        yield line, values


def _document(file: Path, document: Any) -> Found:
    if isinstance(document, list):
        return _array(file, document)
    if isinstance(document, dict):
        return _mapping(file, document)
    raise AtlasError(
        f"{file.name} is {_named(document)}: a JSON file of rows is an array or a mapping of records, or an array of "
        "pairs."
    )


def _array(file: Path, rows: list[Any]) -> Found:
    pairs = bool(rows) and isinstance(rows[0], list)
    for number, values in enumerate(rows):
        if pairs:
            yield None, _pair(file, number, values)
        elif isinstance(values, dict):
            yield None, values
        else:
            raise AtlasError(
                f'{file.name} row {number} is not a JSON object but {_named(values)}: write {{"column": value}}.'
            )


def _pair(file: Path, number: int, values: Any) -> dict[str, Any]:
    if not isinstance(values, list):
        raise AtlasError(f"{file.name} row {number} is {_named(values)}, but the rows before it are pairs.")
    if len(values) != len(PAIR):
        raise AtlasError(f"{file.name} row {number} has {len(values)} parts, but a pair has {len(PAIR)}.")
    return dict(zip(PAIR, values, strict=True))


def _mapping(file: Path, records: dict[str, Any]) -> Found:
    for number, (key, values) in enumerate(records.items()):
        if not isinstance(values, dict):
            lists = [name for name, held in records.items() if isinstance(held, list)]
            hint = f"; the list under {lists[0]!r} is read with `records: {lists[0]}`" if lists else ""
            raise AtlasError(
                f"{file.name} row {number} (key {key!r}) is not a record but {_named(values)}: a mapping must hold "
                f'{{"column": value}} under each key{hint}.'
            )
        if values.get(KEY, key) != key:
            raise AtlasError(
                f"{file.name} row {number} stands under the key {key!r} and has another {KEY!r}, {values[KEY]!r}; "
                "rename that column."
            )
        yield None, {KEY: key, **values}


def _parsed(file: Path, text: str, line: int | None = None) -> Any:
    """The value of a text; line: its number where it is one of several. Raises AtlasError."""
    twins: list[str] = []

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            twins.extend(name for name in found if names.count(name) > 1)
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        hint = "; a file of one JSON object over several lines is read with `format: json`" if line == 1 else ""
        told = line or getattr(error, "lineno", None)
        raise AtlasError(
            f"{file.name}{f' line {told}' if told else ''} is not valid JSON ({reason}){hint}: correct the "
            f"{'line' if line else 'file'}."
        ) from error
    if twins:
        where = f" line {line}" if line else ""
        raise AtlasError(f"{file.name}{where}: the key {twins[0]!r} stands twice in one JSON object; rename one.")
    return value


def _named(value: Any) -> str:
    names = {
        dict: "a JSON object",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)
