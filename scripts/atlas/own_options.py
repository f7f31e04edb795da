"""How an option of one model is written, for errors that tell what to write. Jobs and the configuration's checks use it."""

from __future__ import annotations

import json
from collections.abc import Mapping


def own_options(model: str, analysis: str, option: str, value: object) -> str:
    """The line of a configuration that sets analyses.{analysis}.{option} for one model alone."""
    return f"models: {{{model}: {{options: {{{analysis}: {{{option}: {_flow(value)}}}}}}}}}"


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value, ensure_ascii=False)
