"""Findings of the JSON schema (schemas/config.schema.yaml), each as one sentence."""

import difflib

from atlas.config.problems import raise_all

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def check_schema(config, schema):
    """Raise AtlasError with one sentence per deviation of `config` from the JSON `schema`."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    found = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    raise_all([sentence for error in found for sentence in _sentences(error)])


def _where(error):
    return ".".join(str(part) for part in error.absolute_path) or "the configuration"


def _sentences(error):
    where, value, rule = _where(error), error.instance, error.validator
    if rule == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        for key in sorted(set(value) - set(known), key=str):
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(known)}."
            yield f"{where}: unknown key {key!r}; {hint}"
    elif rule == "required":
        missing = [key for key in error.validator_value if key not in value]
        yield f"{where}: {', '.join(map(repr, missing))} is missing."
    elif rule == "type":
        wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        yield f"{where}: {_show(value)} is not {' or '.join(_TYPES[name] for name in wanted)}."
    elif rule in ("anyOf", "oneOf"):
        yield _alternatives(error)
    elif rule == "enum":
        options = [_show(option) for option in error.validator_value]
        near = difflib.get_close_matches(str(value), [str(option) for option in error.validator_value], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        yield f"{where}: {_show(value)} is not one of {', '.join(options)}{hint}"
    elif rule in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        words = {
            "minimum": "at least",
            "exclusiveMinimum": "greater than",
            "maximum": "at most",
            "exclusiveMaximum": "less than",
        }
        yield f"{where}: {_show(value)} is out of range; it must be {words[rule]} {error.validator_value}."
    elif rule in ("minProperties", "minItems", "minLength"):
        yield f"{where}: it is empty; give at least {error.validator_value}."
    elif rule == "maxProperties":
        given = ", ".join(map(str, value))
        yield f"{where}: {given} are given together; exactly one is allowed (set the others to null)."
    elif rule == "uniqueItems":
        twice = sorted({str(item) for item in value if value.count(item) > 1})
        yield f"{where}: {', '.join(twice)} stands there more than once."
    elif rule == "pattern":
        yield f"{where}: {_show(value)} does not have the form {error.validator_value}."
    else:
        yield f"{where}: {error.message}"


def _alternatives(error):
    branches = [branch.get("description") for branch in error.schema.get("anyOf", [])]
    described = error.schema.get("description") or ", or ".join(filter(None, branches))
    deepest = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator != "type"))
    if len(deepest.absolute_path) > len(error.absolute_path) or deepest.validator not in ("type", "const"):
        return " ".join(_sentences(deepest))
    if described:
        return f"{_where(error)}: {_show(error.instance)} is not {described}."
    names = [_TYPES.get(inner.validator_value, inner.message) for inner in error.context if inner.validator == "type"]
    return f"{_where(error)}: {_show(error.instance)} is not {' or '.join(dict.fromkeys(names))}."


def _show(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
