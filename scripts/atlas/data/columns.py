"""Values out of raw rows: column maps with dot paths, and the conversions that a field's schema allows."""

from typing import Any

from atlas import json_text
from atlas.data.lists import listed, mapped
from atlas.errors import AtlasError
from atlas.names import closest

_MISSING = object()


def pick(values: dict[str, Any], column: str, place: str, field: str, *, required: bool) -> Any:
    """The value of `column` in a row: an exact name, or a dot path into nested columns ('answer.aliases').

    In a list, a number picks an item and a name collects that key of every item. A mapping or list that is written as
    text is read. Returns None where an optional column
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
            within = _read(value)
            inside = f" inside {'.'.join(done)}" if done and isinstance(within, dict) else ""
            names = [str(name) for name in within] if isinstance(within, dict) else list(values)
            raise AtlasError(
                f"{place} has no column {column!r} for field {field!r}; the columns{inside} are: "
                f"{', '.join(names) or 'none'}{closest(key, names)}; set `columns: {{{field}: ...}}`."
            )
        value, done = inner, [*done, key]
    return value


def _read(value: Any) -> Any:
    """A mapping or list that a text holds; anything else as it is."""
    if not isinstance(value, str):
        return value
    if (mapping := mapped(value)) is not None:
        return mapping
    try:
        found = listed(value)
    except ValueError:
        return value
    return value if found is None else found


def _step(value: Any, key: str) -> Any:
    value = _read(value)
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

    Whole numbers become text where text is wanted (ids); a single text becomes a list of one, and a text that holds a
    list or, where one is wanted, a mapping becomes that. Cells of CSV files are all text (`from_text`): numbers are
    read out of them, and empty cells of optional fields are nothing. Raises ValueError, the end of a sentence about the
    field, for a text that looks like a list and is none, and for a list or mapping where one text is wanted.
    """
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if from_text and isinstance(value, str):
        value = _from_cell(value, types)
    if "string" in types and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if "string" in types and isinstance(value, str) and not schema.get("anyText"):
        _refuse_listed(value, "write one text, or name the part by a path such as messages.0.content under `columns`")
    if "array" in types:
        return _as_list(value, schema)
    if "object" in types and isinstance(value, str):
        return value if (found := mapped(value)) is None else found
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)  # pandas writes whole numbers as floats where a column has gaps
    return value


def as_list(value: Any) -> Any:
    """A list as it is, and of a text the list that it holds, or a list of that text.

    Raises ValueError, the end of a sentence about the field, for mappings and what looks like a list and is none.
    """
    within = mapped(value) if isinstance(value, str) else value
    if isinstance(within, dict):
        raise ValueError(
            f"is a mapping of {', '.join(map(str, within)) or 'nothing'}; name the list inside by a path such as "
            "answers.aliases under `columns`"
        )
    if not isinstance(value, str):
        return value
    try:
        found = listed(value)
    except ValueError as error:
        shown = value if len(value) <= 60 else value[:57] + "..."
        shown = shown.replace("\r", "\\r").replace("\n", "\\n")  # the sentence stays on its line
        raise ValueError(
            f"looks like a list and cannot be read as one ({error}): {shown}; write a JSON list, also around a single "
            'text: ["..."]'
        ) from error
    return [value] if found is None else found


def _refuse_listed(text: str, instead: str) -> None:
    """Raises ValueError for a text that is a list of texts, or one or several chat messages."""
    within = _read(text)
    found = [within] if isinstance(within, dict) else within if isinstance(within, list) else []
    if found and (all(isinstance(item, str) for item in found) or all(map(_is_message, found))):
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise ValueError(f"holds a list that is written as text: {shown}; {instead}")


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and "role" in item and "content" in item


def _as_list(value: Any, schema: dict) -> Any:
    if value is None:
        return [] if schema["type"] == "array" else None
    value = as_list(value)
    if isinstance(value, list) and schema["items"].get("type") == "string":
        for item in value:
            if isinstance(item, str):
                _refuse_listed(item, "take it out of the list that it stands in")
        return [str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in value]
    return value


def _from_cell(cell: str, types: list[str]) -> Any:
    text = cell.strip()
    if not text and ("null" in types or "array" in types):
        return None
    if "string" in types or "array" in types:
        return cell
    if "integer" in types or "number" in types:
        try:
            return json_text.load(text)
        except ValueError:
            return cell
    return cell
