"""The form that a JSON schema asks of a value, in words: "a list of whole numbers, or null"."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]

TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_MANY = {"string": "strings", "integer": "whole numbers", "number": "numbers"}
_KEYS = 6  # of a mapping that names more, they are told where one is wrong
_LONG = 45  # letters of a form that is told inside another


def resolved(reference: str, root: Schema) -> Schema:
    """What a `$ref` of the schema `root` stands for."""
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def form(schema: Schema, root: Schema) -> str:
    """What fits `schema`: its own words (`expects`, `form`) where it has some, else from its keywords.

    root: the whole schema, which a `$ref` leads into.
    """
    if told := schema.get("expects") or schema.get("form"):
        return str(told)
    if "$ref" in schema:
        return form({**resolved(schema["$ref"], root), **{key: schema[key] for key in schema if key != "$ref"}}, root)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "allOf" in schema:
        return next(filter(None, (form(part, root) for part in schema["allOf"])), "")
    parts = schema.get("anyOf") or [schema[branch] for branch in ("then", "else") if branch in schema]
    if parts:
        return either(form(part, root) for part in parts)
    kinds = schema.get("type", "array" if "items" in schema else [])
    return either(_of_type(kind, schema, root) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def either(forms: Iterable[str]) -> str:
    """Several forms as one, null at the end."""
    found = list(dict.fromkeys(filter(None, forms)))
    found.sort(key=lambda one: one == "null")
    last = found.pop() if found else ""
    return f"{', '.join(found)}, or {last}" if found else last


def _of_type(kind: str, schema: Schema, root: Schema) -> str:
    if kind == "array" and "items" in schema:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        number = f"{least} " if least == most else f"at least {least} " if least > 1 else ""
        return f"a list{_entries(schema['items'], number, root)}"
    if kind == "object":
        keys, others = list(schema.get("properties", {})), schema.get("additionalProperties")
        if 0 < len(keys) <= _KEYS and not others:
            return f"a mapping with the key{'s' * (len(keys) > 1)} {', '.join(keys)}"
        if not keys and isinstance(others, Mapping) and len(inner := form(others, root)) <= _LONG:
            return f"a mapping {{key: {inner}}}"
    return TYPES[kind]


def _entries(items: Schema, number: str, root: Schema) -> str:
    """The entries of a list, as they stand behind the word; number: how many there are to be."""
    if "$ref" in items:
        items = {**resolved(items["$ref"], root), **{key: items[key] for key in items if key != "$ref"}}
    if not {"form", "expects"} & items.keys():
        if "enum" in items:
            return f" of {number}{'of' if number else 'some of'} {', '.join(map(str, items['enum']))}"
        if items.get("type") in _MANY:
            return f" of {number}{_MANY[items['type']]}"
    return f"{f' of {number.strip()}' if number else ''}, each {form(items, root)}"
