"""Checks of the figures of analyses.saliency that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import first_of


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """The loss of a figure is one that the analysis computes."""
    block = config["analyses"]["saliency"]
    if "loss" in figure:
        yield from first_of(where, figure, "loss", "saliency.loss", block)
    figure["confidence"] = block["confidence"]
