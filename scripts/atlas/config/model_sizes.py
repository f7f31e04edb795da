"""Heads, layers and tokens that a configuration counts on, against models whose sizes a plan knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from atlas.config.by_model import block_of
from atlas.config.defaults import default_of, default_of_plot
from atlas.models.architectures import Shape
from atlas.models.head_names import no_head

Config = dict[str, Any]
ShapeOf = Callable[[str], Shape | None]
# (option, what a block asks for, the field of Shape that is the most there is, how it is told)
Lengths = Sequence[tuple[str, Callable[[Config], int], str, str]]

_ENDS = {"context": "tokens of context", "vocabulary": "token ids", "layers": "layers"}
_TOPS = ("prompt_heads", "safety_heads")  # plots of the `top` strongest heads
# An answer of new tokens stands behind a prompt of one token at least.
_LENGTHS: dict[str, Lengths] = {
    "sinks": [("length", lambda block: block["length"], "context", "sequences have {asked} tokens")],
    "head_types": [
        ("length", lambda block: 2 * block["length"], "context", "sequences stand twice, in {asked} tokens")
    ],
    "ablation_effect": [
        ("new_tokens", lambda block: block["new_tokens"] + 1, "context", "answers and one token take {asked}")
    ],
    "saliency": [
        ("max_new_tokens", lambda block: block["max_new_tokens"] + 1, "context", "answers and one token take {asked}")
    ],
    "head_categories": [
        ("shards", lambda block: block["shards"], "layers", "layers are cut into {asked} jobs"),
        ("k_max", lambda block: block["k_max"], "vocabulary", "{asked} ranks are kept"),
        ("salient_tokens", lambda block: block["salient_tokens"], "vocabulary", "{asked} tokens are kept"),
        ("salient_mapped", lambda block: block["salient_mapped"], "vocabulary", "{asked} tokens are kept"),
    ],
}


def beyond_models(config: Config, shape_of: ShapeOf) -> Iterator[str]:
    """A sentence for each head, layer or length beyond its model; expects a configuration that is resolved.

    shape_of: a model's sizes, None where they are not known yet: its jobs refuse it then, or say that there are fewer.
    Numbers of heads that are as shipped are no request of the user's: of a smaller model all heads are taken.
    """
    for key, entry in config["models"].items():
        if isinstance(entry["source"], dict) and (options := entry["source"].get("ablated")):
            yield from _ablated(f"models.{key}.source.ablated.heads", options, shape_of)
    for key, figure in config["figures"].items():
        if figure["plot"] == "attention_sinks":
            yield from _sinks(f"figures.{key}.heads", figure, shape_of)
        if figure["plot"] in _TOPS and figure["top"] != default_of_plot(figure["plot"], "top"):
            for model in figure["models"]:
                yield from _more_heads(f"figures.{key}.top", model, figure["top"], shape_of(model))
    yield from _effect(config, shape_of)
    yield from _numbers_of_heads(config, shape_of)
    for analysis, lengths in _LENGTHS.items():
        yield from _lengths(analysis, lengths, config, shape_of)
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
            elif heads["auto"] == default_of_plot("attention_sinks", "heads")["auto"]:
                continue
            elif layer is None:
                yield from _more_heads(f"{where}.auto", model, heads["auto"], shape)
            elif heads["auto"] > shape.heads:
                yield (
                    f"{where}.auto: a layer of {model} has {shape.heads} heads, and not {heads['auto']}; take fewer, "
                    "or layer: null, of all layers."
                )
        else:
            yield from _listed(where, model, heads[model] if isinstance(heads, dict) else heads, shape)


def _more_heads(where: str, model: str, asked: int, shape: Shape | None) -> Iterator[str]:
    if shape is not None and asked > (number := shape.layers * shape.heads):
        yield f"{where}: {model} has {number} heads, and not {asked}; take fewer."


def _numbers_of_heads(config: Config, shape_of: ShapeOf) -> Iterator[str]:
    """Of analyses that take so many of a model's heads."""
    for analysis, option in (("head_groups", "candidates"), ("heads", "top"), ("relation_effect", "heads")):
        usual = default_of(analysis, option)
        for model, shape in _known(config, analysis, shape_of):
            asked = block_of(analysis, model, config)[option]
            if asked == usual:
                continue
            most = max([one for one in asked if isinstance(one, int)], default=0) if isinstance(asked, list) else asked
            yield from _more_heads(f"analyses.{analysis}.{option}", model, most, shape)


def _lengths(analysis: str, lengths: Lengths, config: Config, shape_of: ShapeOf) -> Iterator[str]:
    """Options of one analysis that every text or token of a model would be beyond."""
    for model, shape in _known(config, analysis, shape_of):
        block = block_of(analysis, model, config)
        for option, least, end, words in lengths:
            most = getattr(shape, end)
            if most is not None and (asked := least(block)) > most:
                what = words.format(asked=asked, option=option)
                yield f"analyses.{analysis}.{option}: {what}, and {model} has {most} {_ENDS[end]}; take less."


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
