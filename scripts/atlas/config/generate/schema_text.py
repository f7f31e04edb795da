"""The text of schemas/config.schema.yaml: its fixed parts (schema_base.yaml), and the options of analyses and plots.

A figure is held to the options of its plot: the one it names, or the one that its key is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from atlas.analyses.registry import ANALYSES, MEASURES, PLOTS
from atlas.config.generate.config_text import WIDTH, flow
from atlas.config.generate.options import NOTHING, Block, Option, analysis_blocks, plot_blocks

# No count of anything is larger, and a mistyped one would be planned, or allocated, for hours.
MOST = 1_000_000_000
LARGEST = 1_000_000_000_000_000  # of any number; beyond 2^53, about nine times that, floats skip whole numbers
HEAD = "# Written by `make config` from scripts/atlas/config/generate/ and the options of scripts/atlas/analyses/.\n"


def schema_text() -> str:
    """schemas/config.schema.yaml, whole."""
    schema = whole_schema()
    definitions = schema.pop("$defs")
    lines = [line for key, value in schema.items() for line in _lines(key, value, "")]
    lines += ["", "$defs:"]
    for key, value in definitions.items():
        lines += [*_lines(key, value, "  ")]
    return HEAD + "\n".join(lines) + "\n"


def whole_schema() -> dict[str, Any]:
    """The JSON schema of a configuration."""
    schema = yaml.safe_load(Path(__file__).with_name("schema_base.yaml").read_text(encoding="utf-8"))
    definitions = schema["$defs"]
    for names, known in (("analysis", ANALYSES), ("plot", PLOTS)):
        definitions[names]["enum"] = list(known)
    definitions["metrics"]["items"]["enum"] = list(MEASURES)
    for block in analysis_blocks():
        definitions[block.name] = _object(block)
        schema["properties"]["analyses"]["properties"][block.name] = {"$ref": f"#/$defs/{block.name}"}
    definitions["model_options"] = {
        "type": "object",
        "additionalProperties": False,
        "filled": False,  # what a model does not say is as the analysis has it
        "properties": {block.name: _own(block) for block in analysis_blocks()},
    }
    plots = plot_blocks()
    for block in plots:
        definitions[_name(block)] = _object(block)
    definitions["figure"] = {
        "type": "object",
        "properties": {"plot": {"$ref": "#/$defs/plot"}},
        "allOf": [
            {
                # `required` holds of everything that is no mapping
                "if": {"type": "object", "required": ["plot"], "properties": {"plot": {"const": block.name}}},
                "then": _ref(block),
            }
            for block in plots
        ],
    }
    schema["properties"]["figures"]["properties"] = {
        block.name: {"if": {"required": ["plot"]}, "then": {"$ref": "#/$defs/figure"}, "else": _ref(block)}
        for block in plots
    }
    _bound(schema)
    return schema


def _bound(schema: Any) -> None:
    """Give every number without a maximum, or a minimum, one, in place."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & schema.keys():
            schema["maximum"] = MOST
        if schema.get("type") in ("integer", "number"):
            if not {"maximum", "exclusiveMaximum"} & schema.keys():
                schema["maximum"] = LARGEST
            if not {"minimum", "exclusiveMinimum"} & schema.keys():
                schema["minimum"] = -LARGEST
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        _bound(part)


def _name(block: Block) -> str:
    return f"figure_{block.name}"


def _ref(block: Block) -> dict[str, str]:
    return {"$ref": f"#/$defs/{_name(block)}"}


def _object(block: Block) -> dict[str, Any]:
    required = {"required": list(block.required)} if block.required else {}
    properties = {option.name: _schema(option) for option in block.options}
    return {"type": "object", "additionalProperties": False, **required, "properties": properties}


def _own(block: Block) -> dict[str, Any]:
    """What a model's entry may say of one analysis."""
    if ANALYSES[block.name].kind is None:
        return {"for_all": "it joins what other analyses have found, whose options can be set"}
    properties: dict[str, Any] = {}
    for option in block.options:
        one = {"$ref": f"#/$defs/{block.name}/properties/{option.name}"}
        properties[option.name] = {"for_all": option.for_all} if option.for_all else one
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _schema(option: Option) -> dict[str, Any]:
    words = " ".join(" ".join(text.split()) for text in (option.why, option.docs) if text)
    schema = {**({"description": words} if words else {}), **option.schema}
    if option.default is not NOTHING:
        schema["default"] = option.default
    if option.inner:
        schema["properties"] = {inner.name: _schema(inner) for inner in option.inner}
    return schema


def _lines(key: str, value: Any, indent: str) -> list[str]:
    """`key: value`, on one line where it fits and holds no more than one mapping inside another."""
    line = f"{indent}{key}: {flow(value)}"
    if not isinstance(value, dict | list) or not value or (len(line) <= WIDTH and _depth(value) < 3):
        return [line]
    inside = indent + "  "
    if isinstance(value, dict):
        return [f"{indent}{key}:", *(line for name, held in value.items() for line in _lines(name, held, inside))]
    lines = [f"{indent}{key}:"]
    for held in value:
        whole = f"{inside}- {flow(held)}"
        if len(whole) <= WIDTH or not isinstance(held, dict):
            lines.append(whole)
            continue
        first, *others = [line for name, inner in held.items() for line in _lines(name, inner, inside + "  ")]
        lines += [f"{inside}- {first.lstrip()}", *others]
    return lines


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return max(map(_depth, value), default=0) if isinstance(value, list) else 0
