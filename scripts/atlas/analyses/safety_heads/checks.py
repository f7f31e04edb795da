"""Checks of safety heads, their groups and what ablating them does that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import first_of


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """What starts from the ranks of safety_heads names one that is computed there."""
    if not where.endswith(".safety_heads"):
        yield from first_of(where, block, "rank", "safety_heads.rank", config["analyses"]["safety_heads"])
    if where.endswith(".head_groups") and block["size"] > block["candidates"]:
        yield (
            f"{where}.size: groups of {block['size']} heads cannot be made of candidates: {block['candidates']}; lower "
            "size, or raise candidates."
        )


def unused(name: str, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What scaling multiplies by, where nothing is scaled."""
    if name == "safety_heads" and "scaling" not in block["ablations"]:
        yield "epsilon", "scaling is not among ablations"


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Rank and ablations are among those of the analysis; what is left open is chosen from them."""
    block = config["analyses"]["safety_heads"]
    if "rank" in figure:
        yield from first_of(where, figure, "rank", "safety_heads.rank", block)
    if figure["ablations"] is None:
        figure["ablations"] = _shown(figure["plot"], block["ablations"])
    for ablation in figure["ablations"]:
        if ablation not in block["ablations"]:
            yield f"{where}.ablations: {ablation!r} is not among analyses.safety_heads.ablations; add it there."


def _shown(plot: str, ablations: list[str]) -> list[str]:
    """safety_effect shows all ablations; safety_heads leaves out the mean, unless it is the only one."""
    if plot == "safety_effect":
        return sorted(ablations, key=["undifferentiated", "scaling", "mean"].index)
    return [ablation for ablation in ablations if ablation != "mean"] or list(ablations)
