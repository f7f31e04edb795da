"""How an option of one model is written, for errors of jobs and of the configuration that tell what to write."""

from __future__ import annotations

import json
from collections.abc import Mapping

# What YAML takes for no text.
_WORDS = ("null", "true", "false", "yes", "no", "on", "off")


def own_options(model: str, analysis: str, option: str, value: object) -> str:
    """The line of a configuration that sets analyses.{analysis}.{option} for one model alone."""
    return f"models: {{{model}: {{options: {{{analysis}: {{{option}: {written(value)}}}}}}}}}"


def written(value: object) -> str:
    """A value as it stands on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str) and value.isidentifier() and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)
    # YAML asks for a point before the exponent of a number.
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text
