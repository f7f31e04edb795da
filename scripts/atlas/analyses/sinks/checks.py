"""Checks of the figures of analyses.sinks that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Norms are shown for an input that there is, on an axis that has a logarithm."""
    if figure["plot"] != "sink_norms":
        return
    inputs = config["analyses"]["sinks"]["inputs"]
    if figure["input"] is not None and figure["input"] not in inputs:
        known = ", ".join(inputs)
        yield f"{where}.input: {figure['input']!r} is not among analyses.sinks.inputs ({known}); add it there."
    for option in ("ylim", "yticks"):
        given = figure[option]
        for values in given.values() if isinstance(given, dict) else [given]:
            if values and min(values) <= 0:
                yield f"{where}.{option}: {values} is not above 0, and the axis is logarithmic; give other numbers."
