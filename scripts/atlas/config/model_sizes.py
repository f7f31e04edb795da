"""Heads and layers that a configuration names, against models whose sizes are known when a run is planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from atlas.config.by_model import block_of
from atlas.models.architectures import Shape
from atlas.models.head_names import no_head

Config = dict[str, Any]
ShapeOf = Callable[[str], Shape | None]


def beyond_models(config: Config, shape_of: ShapeOf) -> Iterator[str]:
    """A sentence for each head or layer beyond its model; expects a configuration that is resolved.

    shape_of: a model's sizes, None where they are not known yet: its jobs refuse it then.
    """
    for key, entry in config["models"].items():
        if isinstance(entry["source"], dict) and (options := entry["source"].get("ablated")):
            yield from _ablated(f"models.{key}.source.ablated.heads", options, shape_of)
    for key, figure in config["figures"].items():
        if figure["plot"] == "attention_sinks":
            yield from _sinks(f"figures.{key}.heads", figure, shape_of)
    yield from _effect(config, shape_of)
    for model, shape in _known(config, "saliency", shape_of):
        layers = block_of("saliency", model, config)["probe"]["layers"]
        wrong = [] if layers == "all" else [layer for layer in layers if layer > shape.layers]
        if wrong:
            yield (
                f"analyses.saliency.probe.layers: {model} has hidden states 1 to {shape.layers}, and no {wrong[0]}; "
                "leave it out."
            )


def _ablated(where: str, options: Config, shape_of: ShapeOf) -> Iterator[str]:
    of, heads = options["of"], options["heads"]
    shape = shape_of(of)
    if shape is None:
        return
    if isinstance(heads, list):
        yield from _listed(where, of, heads, shape)
    elif heads["top"] > shape.layers * shape.heads:
        yield f"{where}.top: {of} has {shape.layers * shape.heads} heads, and not {heads['top']}; take fewer."


def _sinks(where: str, figure: Config, shape_of: ShapeOf) -> Iterator[str]:
    for model in figure["models"]:
        shape, heads = shape_of(model), figure["heads"]
        if shape is None:
            continue
        if isinstance(heads, dict) and "auto" in heads:
            layer = heads.get("layer")
            if layer is not None and layer >= shape.layers:
                yield f"{where}.layer: {model} has no layer {layer}; its layers are 0 to {shape.layers - 1}."
        else:
            yield from _listed(where, model, heads[model] if isinstance(heads, dict) else heads, shape)


def _effect(config: Config, shape_of: ShapeOf) -> Iterator[str]:
    for model, shape in _known(config, "ablation_effect", shape_of):
        number = shape.layers * shape.heads
        most = max(config["analyses"]["ablation_effect"]["heads"])
        if 2 * most > number:
            yield (
                f"analyses.ablation_effect.heads: {most} heads are to be ablated, but of the {number} heads of {model} "
                f"there must be as many others for the control; ask for at most {number // 2}."
            )


def _known(config: Config, analysis: str, shape_of: ShapeOf) -> Iterator[tuple[str, Shape]]:
    """The models of an analysis whose sizes are known."""
    for model in config["analyses"].get(analysis, {"models": []})["models"]:
        if (shape := shape_of(model)) is not None:
            yield model, shape


def _listed(where: str, model: str, heads: Iterable[list[int]], shape: Shape) -> Iterator[str]:
    for layer, head in heads:
        if lacks := no_head(layer, head, shape.layers, shape.heads):
            yield f"{where}: {model} {lacks}; correct it."
