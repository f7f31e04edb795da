"""Values out of raw rows: column maps with dot paths, and the conversions that a field's schema allows."""

import json
from typing import Any

from atlas.errors import AtlasError
from atlas.names import closest

_MISSING = object()


def pick(values: dict[str, Any], column: str, place: str, field: str, *, required: bool) -> Any:
    """The value of `column` in a row: an exact name, or a dot path into nested columns ('answer.aliases').

    In a list, a number picks an item and a name collects that key of every item. Returns None where an optional column
    is missing. Raises AtlasError, listing the columns there are.
    """
    if column in values:
        return values[column]
    value: Any = values
    done: list[str] = []
    for key in column.split("."):
        inner = _step(value, key)
        if inner is _MISSING:
            if not required:
                return None
            inside = f" inside {'.'.join(done)}" if done and isinstance(value, dict) else ""
            names = [str(name) for name in value] if isinstance(value, dict) else list(values)
            raise AtlasError(
                f"{place} has no column {column!r} for field {field!r}; the columns{inside} are: "
                f"{', '.join(names) or 'none'}{closest(key, names)}; set `columns: {{{field}: ...}}`."
            )
        value, done = inner, [*done, key]
    return value


def _step(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key, _MISSING)
    if isinstance(value, list):
        if key.isdigit():
            return value[int(key)] if int(key) < len(value) else _MISSING
        inner = [_step(item, key) for item in value]
        return _MISSING if any(item is _MISSING for item in inner) else inner
    return _MISSING


def convert(value: Any, schema: dict, from_text: bool) -> Any:
    """The value as the field's schema wants it, as far as that is plain; otherwise unchanged, for the schema to refuse.

    Whole numbers become text where text is wanted (ids); a single text becomes a list of one. Cells of CSV files are
    all text (`from_text`): numbers and JSON lists are read out of them, and empty cells of optional fields are nothing.
    """
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if from_text and isinstance(value, str):
        value = _from_cell(value, types)
    if "string" in types and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if "array" in types:
        return _as_list(value, schema)
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)  # pandas writes whole numbers as floats where a column has gaps
    return value


def _as_list(value: Any, schema: dict) -> Any:
    if value is None:
        return [] if schema["type"] == "array" else None
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and schema["items"].get("type") == "string":
        return [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in value]
    return value


def _from_cell(cell: str, types: list[str]) -> Any:
    text = cell.strip()
    if not text and ("null" in types or "array" in types):
        return None
    if "string" in types:
        return cell
    if ("array" in types and text.startswith("[")) or "integer" in types or "number" in types:
        try:
            return json.loads(text)
        except ValueError:
            return cell
    return cell
