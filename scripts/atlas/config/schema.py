"""The JSON schema (schemas/config.schema.yaml): its findings, each as one sentence, and its defaults."""

from __future__ import annotations

import copy
import math
import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from atlas.config.forms import form, resolved
from atlas.config.problems import nearest_of, raise_all

Schema = Mapping[str, Any]
Finding = Any  # a jsonschema.ValidationError; what it holds is typed there as possibly unset

_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "greater than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


_WIDTH = re.compile(r"[<>^]?\d{0,2}")


def check_schema(config: Mapping[str, Any], schema: Schema) -> None:
    """Raise AtlasError with one sentence per deviation of `config` from the JSON `schema`."""
    validator = _Validator(schema)
    found = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    raise_all([sentence for error in found for sentence in _sentences(error, schema)])


def _placeholders(validator: Any, known: list[str], value: Any, _: Schema) -> Iterator[jsonschema.ValidationError]:
    """A text that `format` is called on: only the names of `placeholders` are filled in."""
    if not isinstance(value, str):
        return
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError:
        yield jsonschema.ValidationError(value)
        return
    # No parts of what is filled in ({label.x}), and no form but a small width: {label:d} fails when it is drawn, and
    # {label:9999999999} takes the memory of a machine.
    if not all(
        name is None or (name in known and not how and _WIDTH.fullmatch(form or "")) for _, name, form, how in parts
    ):
        yield jsonschema.ValidationError(value)


def _pattern(validator: Any, pattern: str, value: Any, _: Schema) -> Iterator[jsonschema.ValidationError]:
    """As in JSON Schema, `$` is the end; Python's would let a line break stand behind it."""
    if isinstance(value, str) and not re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), value):
        yield jsonschema.ValidationError(value)


def _for_all(validator: Any, reason: str, value: Any, _: Schema) -> Iterator[jsonschema.ValidationError]:
    """An option that no model may have otherwise."""
    yield jsonschema.ValidationError(reason)


def _is_whole(_: Any, value: Any) -> bool:
    """A number without a point: JSON's 2.0 is whole as well, and fails where something is counted."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_: Any, value: Any) -> bool:
    """A number that is one: YAML's .nan and .inf pass every bound."""
    return (isinstance(value, float) and math.isfinite(value)) or _is_whole(_, value)


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"placeholders": _placeholders, "for_all": _for_all, "pattern": _pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_whole, "number": _is_finite}
    ),
)


def fill_defaults(value: Any, schema: Schema, root: Schema) -> None:
    """Fill into `value`, in place, the default of every option that it does not give; `value` must fit `schema`."""
    if schema.get("filled") is False:
        return
    if "$ref" in schema:
        fill_defaults(value, resolved(schema["$ref"], root), root)
    for part in schema.get("allOf", ()):
        fill_defaults(value, part, root)
    if "if" in schema:
        branch = "then" if _Validator({**schema["if"], "$defs": root["$defs"]}).is_valid(value) else "else"
        fill_defaults(value, schema.get(branch, {}), root)
    if not isinstance(value, dict):
        return
    properties = schema.get("properties", {})
    for key, rule in properties.items():
        if key not in value and "default" in rule:
            value[key] = copy.deepcopy(rule["default"])
        if key in value:
            fill_defaults(value[key], rule, root)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for key in value.keys() - properties.keys():
            fill_defaults(value[key], others, root)


def laid_over(value: Any, base: Any, schema: Schema, root: Schema) -> Any:
    """`value` with what it leaves open as in `base`: the keys that `schema` names; any other mapping counts whole."""
    named = _named(schema, root)
    if not named or not isinstance(value, dict) or not isinstance(base, dict):
        return value
    return {**base, **{key: laid_over(one, base.get(key), named[key], root) for key, one in value.items()}}


def _named(schema: Schema, root: Schema) -> Schema:
    """The keys of a mapping that a schema names, with the schema of each."""
    return _named(resolved(schema["$ref"], root), root) if "$ref" in schema else schema.get("properties", {})


def _where(error: Finding) -> str:
    return ".".join(str(part) for part in error.absolute_path) or "the configuration"


def _sentences(error: Finding, root: Schema) -> Iterator[str]:
    where, value, rule, wanted = _where(error), error.instance, error.validator, error.validator_value
    if rule == "additionalProperties":
        yield from _unknown_keys(error)
    elif rule == "required":
        missing = [repr(key) for key in wanted if key not in value]
        yield f"{where}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
    elif rule == "type":
        types = wanted if isinstance(wanted, list) else [wanted]
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{where}: {value} is not a finite number."
            return
        hint = _as_number(value, types) or _as_list(value, error.schema, root)
        yield f"{where}: {_show(value)} is not {form(error.schema, root)}{hint}."
    elif rule in ("anyOf", "oneOf"):
        yield _alternatives(error, root)
    elif rule == "const":
        only = form(error.schema, root)
        yield f"{where}: {_show(value)} is not {only}; write {only}, or leave the key out."
    elif rule == "enum":
        near = _near(error)
        hint = f"; did you mean {near!r}?" if near else "."
        yield f"{where}: {_show(value)} is not one of {', '.join(map(_show, wanted))}{hint}"
    elif rule in _BOUNDS:
        yield f"{where}: {_show(value)} is out of range; it must be {_BOUNDS[rule]} {wanted}."
    elif rule in ("minProperties", "minItems", "minLength", "maxItems"):
        yield f"{where}: {_length(error, root)}"
    elif rule == "maxProperties":
        given = ", ".join(map(str, value))
        yield f"{where}: {given} are given together; exactly one is allowed (set the others to null)."
    elif rule == "uniqueItems":
        twice = sorted({str(item) for item in value if value.count(item) > 1})
        yield f"{where}: {', '.join(twice)} stands there more than once."
    elif rule == "pattern":
        yield f"{where}: {_show(value)} is not {error.schema.get('form', f'of the form {wanted}')}."
    elif rule == "for_all":
        analysis, option = f"analyses.{error.absolute_path[3]}", ".".join(map(str, list(error.absolute_path)[4:]))
        named = f"{analysis}.{option}" if option else analysis
        yield f"{where}: {named} is the same for all models ({wanted}); take it out here."
    elif rule == "placeholders":
        yield f"{where}: {_unfilled(value, wanted)}"
    else:
        yield f"{where}: {error.message}"


def _length(error: Finding, root: Schema) -> str:
    """What is said of a text, list or mapping that is too short or too long."""
    value, told = error.instance, form(error.schema, root)
    if not value and isinstance(value, str):
        return "it is an empty text; write something, or take it out."
    if not value:
        return f"it is empty; give {told}."
    return f"{_show(value)} has {len(value)} entr{'y' if len(value) == 1 else 'ies'}, and is not {told}."


def _as_list(value: Any, schema: Schema, root: Schema) -> str:
    """How an entry that came without its list is written, as the end of a sentence."""
    fits = value is not None and schema.get("type") == "array" and "items" in schema
    return f"; write {[value]}" if fits and _Validator({**schema, "$defs": root["$defs"]}).is_valid([value]) else ""


def _as_number(value: Any, types: list[str]) -> str:
    """How a number that came as text, or with a point, is written, as the end of a sentence."""
    if isinstance(value, float) and "integer" in types and value.is_integer() and abs(value) < 1e15:
        return f"; write {value:.0f}"
    if not isinstance(value, str) or not {"number", "integer"} & {*types}:
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    if "e" in value.lower() and math.isfinite(number):  # YAML asks for a point and a sign: 1e-5 is a text there
        return f"; write {number:.1e}" if float(f"{number:.1e}") == number else f"; write {number}"
    return "; write it without quotation marks"


def _unknown_keys(error: Finding) -> Iterator[str]:
    known = sorted(key for key, rule in error.schema.get("properties", {}).items() if "for_all" not in rule)
    for key in sorted(set(error.instance) - set(known), key=str):
        near = nearest_of(key, known)
        hint = f"did you mean {near!r}?" if near else f"valid keys: {', '.join(known)}."
        yield f"{_where(error)}: unknown key {key!r}; {hint}"


def _unfilled(text: str, known: list[str]) -> str:
    """What of a text with {names} cannot be filled in."""
    valid = ", ".join(f"{{{name}}}" for name in known)
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:
        return f"{_show(text)} has an unpaired brace; double those that are meant ({valid} is filled in)."
    wrong = [name for name in names if name not in known]
    if not wrong:
        return f"{_show(text)} cannot be formatted; use {valid} as it is."
    near = nearest_of(wrong[0], known)
    return f"nothing fills {{{wrong[0]}}} in; " + (f"did you mean {{{near}}}?" if near else f"there are: {valid}.")


def _alternatives(error: Finding, root: Schema) -> str:
    kinds = ("type", "const", "enum")  # what says no more than the form does
    deepest = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator not in kinds))
    below = len(deepest.absolute_path) > len(error.absolute_path)
    misspelt = [inner for inner in error.context if inner.validator == "enum" and not below and _near(inner)]
    if below or misspelt or deepest.validator not in kinds:
        return " ".join(_sentences(misspelt[0] if misspelt else deepest, root))
    return f"{_where(error)}: {_show(error.instance)} is not {form(error.schema, root)}."


def _near(error: Finding) -> str | None:
    """Which choice a value that is none of them may have meant."""
    return nearest_of(error.instance, map(str, error.validator_value))


def _show(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    # A token or key that was put in the wrong place is not repeated.
    text = re.sub(r"\b(hf_|sk-)[\w-]{6,}", r"\1...", repr(value) if isinstance(value, str) else str(value))
    return text if len(text) <= 60 else text[:57] + "..."
