"""How a head that a model does not have is named: as the configuration writes heads, with the model's sizes."""

from __future__ import annotations


def no_head(layer: int, head: int, layers: int, heads: int) -> str | None:
    """What a model of so many layers, of so many heads each, lacks, behind its name; None where it has this head."""
    if 0 <= layer < layers and 0 <= head < heads:
        return None
    return f"has no head [{layer}, {head}]: its layers are 0 to {layers - 1}, its heads 0 to {heads - 1}"
