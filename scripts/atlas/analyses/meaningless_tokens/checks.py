"""Checks of analyses.meaningless_tokens and its figures that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.problems import nearest


def unused(name: str, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Parts of the span that another kind of span has."""
    if block["span"]["kind"] == "repeat":
        yield "span.seed", "span.kind is repeat, which draws nothing"
    else:
        yield "span.string", f"span.kind is {block['span']['kind']}, which draws words"


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
