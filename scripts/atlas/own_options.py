"""How an option of one model is written, for errors of jobs and of the configuration that tell what to write."""

from __future__ import annotations

import json
from collections.abc import Mapping


def own_options(model: str, analysis: str, option: str, value: object) -> str:
    """The line of a configuration that sets analyses.{analysis}.{option} for one model alone."""
    return f"models: {{{model}: {{options: {{{analysis}: {{{option}: {written(value)}}}}}}}}}"


def written(value: object) -> str:
    """A value as it stands on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value, ensure_ascii=False)
