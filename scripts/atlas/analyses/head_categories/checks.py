"""Checks of analyses.head_categories that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.problems import nearest


def problems(name: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """No k beyond the stored ranks; options by model name models of the analysis."""
    tables = {"k": block["k"], **{f"k_by_model.{model}": table for model, table in block["k_by_model"].items()}}
    for key, table in tables.items():
        for relation, k in table.items():
            if k > block["k_max"]:
                where = f"analyses.{name}.{key}.{relation}"
                yield f"{where}: {k} is beyond k_max = {block['k_max']}; raise k_max."
    for option in ("k_by_model", "first_mlp_by_model"):
        for model in block[option]:
            if model not in block["models"]:
                near = nearest(model, block["models"])
                yield f"analyses.{name}.{option}: {model!r} is none of its models; {near}"
