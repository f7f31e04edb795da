"""The tables of options in docs/*.md, between `<!-- options: NAME -->` and `<!-- end -->`, and likewise of claims.

NAME is an analysis (`sinks`), some options of one (`mink: texts, template`), or a plot (`figures.sink_rates`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from atlas.config.generate.claims_text import claims_table
from atlas.config.generate.config_text import flow
from atlas.config.generate.options import NOTHING, Block, Option, analysis_blocks, plot_blocks
from atlas.config.generate.schema_text import LARGEST, whole_schema
from atlas.errors import AtlasError

_MARKED = re.compile(
    r"(?P<head><!-- (?P<kind>options|claims): (?P<name>[^>]*?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
_TYPES = {"boolean": "true, false", "string": "text", "object": "mapping", "null": "null"}


def docs_text(text: str) -> str:
    """A page of docs/ with its tables of options and of claims written anew."""
    tables = {"options": _table, "claims": claims_table}
    return _MARKED.sub(lambda found: found["head"] + "".join(tables[found["kind"]](found["name"])) + found["end"], text)


def _table(name: str) -> Iterator[str]:
    name, _, chosen = (part.strip() for part in name.partition(":"))
    if name not in _blocks():
        raise AtlasError(f"docs: there are no options of {name!r}; there are: {', '.join(_blocks())}.")
    block = _blocks()[name]
    wanted = [one.strip() for one in chosen.split(",") if one.strip()] or [
        option.name for option in block.options if option.name != "plot"
    ]
    options = {option.name: option for option in block.options}
    columns = ["option", "values", "default", *(["by model"] if block.kind else []), "what it does"]
    yield f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}\n"
    for option in wanted:
        by_model = ["" if options[option].for_all else "yes"] if block.kind else []
        yield from _rows(options[option], "", by_model, options[option].default is NOTHING and option in block.required)


@cache
def _blocks() -> Mapping[str, Block]:
    plots = {f"figures.{block.name}": block for block in plot_blocks()}
    return {**{block.name: block for block in analysis_blocks()}, **plots}


def _rows(option: Option, outer: str, by_model: list[str], required: bool = False) -> Iterator[str]:
    """A row of one option; those inside it have rows of their own where one of them is explained.

    by_model: whether a model may have it otherwise, in the column for that, which tables of figures do not have.
    """
    name = f"{outer}{option.name}"
    opened = any(one.why or one.docs for one in option.inner)
    default = "must be given" if required else "" if option.filled is NOTHING or opened else _code(option.filled)
    values = "" if opened else ", ".join(dict.fromkeys(_values(option.schema)))
    cells = [f"`{name}`", values, default, *by_model, _words(option)]
    yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
    for one in option.inner if opened else ():
        yield from _rows(one, f"{name}.", by_model)


def _code(value: Any) -> str:
    text = flow(value)
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}...`"


def _words(option: Option) -> str:
    return " ".join(" ".join(text.split()) for text in (option.why, option.docs) if text)


def _values(schema: Mapping[str, Any]) -> Iterator[str]:
    """What an option may be, in words; one for each alternative."""
    if "$ref" in schema:
        yield from _values(_resolved(schema["$ref"]))
    elif "enum" in schema:
        yield from (_code(value) for value in schema["enum"]) if len(schema["enum"]) < 9 else ["a name"]
    elif "const" in schema:
        yield _code(schema["const"])
    elif "anyOf" in schema or "allOf" in schema:
        for part in schema.get("anyOf", schema.get("allOf", ())):
            yield from _values(part)
    elif schema.get("type") == "array":
        yield from _list(schema)
    elif isinstance(schema.get("type"), list):
        yield from (word for name in schema["type"] for word in _values({**schema, "type": name}))
    elif schema.get("type") in ("integer", "number"):
        yield _number(schema)
    elif "type" in schema:
        yield _TYPES[schema["type"]]


def _list(schema: Mapping[str, Any]) -> Iterable[str]:
    items = ", ".join(_values(schema.get("items", {})))
    count = schema.get("minItems") if schema.get("minItems") == schema.get("maxItems") else None
    return [f"list of {count if count else ''} {items}".replace("  ", " ")]


def _number(schema: Mapping[str, Any]) -> str:
    words = "whole number" if schema["type"] == "integer" else "number"
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    stated = {key: word for key, word in bounds.items() if abs(schema.get(key, LARGEST)) != LARGEST}
    return " ".join([words, *(f"{word} {flow(schema[key])}" for key, word in stated.items())])


@cache
def _schema() -> Mapping[str, Any]:
    return whole_schema()


def _resolved(reference: str) -> Mapping[str, Any]:
    found: Any = _schema()
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found
