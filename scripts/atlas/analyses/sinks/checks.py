"""Checks of analyses.sinks and its figures that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """The profile is of positions that the sequences have."""
    length = block["length"]
    beyond = [] if block["positions"] == "all" else [k for k in block["positions"] if k >= length]
    if beyond:
        yield (
            f"{where}.positions: sequences of {length} tokens have positions 0 to {length - 1}, and no {beyond[0]}; "
            "take it out, or raise length."
        )


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
