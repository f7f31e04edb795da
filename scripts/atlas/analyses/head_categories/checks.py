"""Checks of head categories, and of what starts from them, that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import first_of


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """No k beyond the stored ranks; examples that say what completes them."""
    for relation, k in block.get("k", {}).items():
        if k > block["k_max"]:
            yield f"{where}.k.{relation}: {k} is beyond k_max = {block['k_max']}; raise k_max."
    for place in ("{source}", "{target}"):
        if place not in block.get("example", place):
            yield f"{where}.example: {block['example']!r} has no {place}; add it."


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """The set of heads that is shown is among those that are ablated."""
    if figure["plot"] == "relation_effect":
        yield from first_of(where, figure, "heads", "relation_effect.heads", config["analyses"]["relation_effect"])
