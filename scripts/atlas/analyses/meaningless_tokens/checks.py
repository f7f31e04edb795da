"""Checks of the figures of analyses.meaningless_tokens that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.problems import nearest


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Heads that are listed by model, and axes of the rows, are those of models of the figure."""
    for row in ("top", "bottom"):
        for option, value in figure[row].items():
            for model in value if isinstance(value, dict) else ():
                if model not in figure["models"]:
                    near = nearest(model, figure["models"])
                    yield f"{where}.{row}.{option}: {model!r} is not among its models; {near}"
    heads = figure["heads"]
    if not isinstance(heads, dict) or "auto" in heads:
        return
    for model in heads:
        if model not in figure["models"]:
            yield f"{where}.heads: {model!r} is not among its models; {nearest(model, figure['models'])}"
    missing = [model for model in figure["models"] if model not in heads]
    if missing:
        yield f"{where}.heads: no heads are given for {', '.join(missing)}."
