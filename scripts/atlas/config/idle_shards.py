"""Shards that have nothing to do: more jobs than there are rows, sequences or layers to share among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from atlas.config.analyses import datasets_of
from atlas.config.by_model import block_of
from atlas.config.model_sizes import ShapeOf

Config = dict[str, Any]

_BY_LAYER = ("safety_heads",)  # analyses whose layers are shared; head_categories refuses more shards than layers


def idle_shards(config: Config, rows_of: Callable[[str], int | None], shape_of: ShapeOf) -> Iterator[str]:
    """A note for each analysis of a resolved configuration that has such shards: each loads its model for nothing.

    rows_of: the most rows that a data set can have, None where that is not known; shape_of: as of beyond_models.
    Results do not depend on it.
    """
    said = dict.fromkeys(note for name in config["analyses"] for note in _idle(name, config, rows_of, shape_of))
    yield from said


def _idle(name: str, config: Config, rows_of: Callable[[str], int | None], shape_of: ShapeOf) -> Iterator[str]:
    for model in config["analyses"][name].get("models", ()):
        block = block_of(name, model, config)
        shards = block.get("shards", 1)
        for number, what in _shared(name, model, block, rows_of, shape_of) if shards > 1 else ():
            if number is not None and shards > number:
                yield (
                    f"analyses.{name}.shards: {shards} jobs share {number} {what}, so {shards - number} of them load a "
                    f"model for nothing; ask for at most {number}."
                )


def _shared(
    name: str, model: str, block: Config, rows_of: Callable[[str], int | None], shape_of: ShapeOf
) -> Iterator[tuple[int | None, str]]:
    """(how many there are at most, what they are) of what the shards of an analysis divide among them."""
    if name in _BY_LAYER:
        shape = shape_of(model)
        yield None if shape is None else shape.layers, f"layers of {model}"
    elif "sequences" in block:
        yield block["sequences"], "sequences"
    elif name != "head_categories":
        for dataset in datasets_of(block):
            rows = rows_of(dataset)
            # Every row is scored in each of `texts`, and once more in lower case.
            times = len(block.get("texts", "1")) * (1 + bool(block.get("lowercase")))
            yield None if rows is None else rows * times, f"texts of {dataset}" if times > 1 else f"rows of {dataset}"
