"""Attention per position with and without meaningless tokens, two rows of panels per model.

Source: Shi et al. 2025, arXiv 2510.01032, Fig. 18.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt

from atlas.errors import AtlasError
from atlas.models.head_names import no_head
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of
from atlas.plots.fitting import clear, fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Document, Documents, Drawn, Options, Sources, Tables

SINK = 0.3  # first_token: auto hides a first token with more than this mean weight, the sink threshold of Gu et al.


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables attention_weights and meaningless_effect.

    Top row per model: both conditions, the span's columns left out, positions aligned. Bottom row: the whole sequence
    with the span shaded.
    """
    style.begin()
    models, weights, effect = options["models"], tables["attention_weights"], tables["meaningless_effect"]
    data = weights[(weights["dataset"] == options["dataset"]) & weights["model"].isin(models)]
    effect = effect[effect["dataset"] == options["dataset"]]
    chosen = {model: choose_heads(effect[effect["model"] == model], options["heads"], model) for model in models}
    columns = max(map(len, chosen.values()))
    figure, grid = plt.subplots(
        2 * len(models),
        columns,
        figsize=(options["width"], options["width"] * 0.25 * 2 * len(models) * 3 / max(columns, 3)),
        squeeze=False,
        layout="constrained",
    )
    hidden = []
    for row, model in enumerate(models):
        shown = data[(data["model"] == model) & (data["prompts"] >= options["min_prompts"])]
        if shown.empty:
            raise AtlasError(
                f"figures.*.min_prompts: no position of {model} is reached by {options['min_prompts']} prompts; "
                "lower it."
            )
        if _hide_first(shown, chosen[model], options["first_token"]):
            hidden.append(options["model_labels"][model])
            shown = shown[shown["position"] > shown["position"].min()]
        for column in range(columns):
            top, bottom = grid[2 * row, column], grid[2 * row + 1, column]
            if column >= len(chosen[model]):
                top.set_axis_off()
                bottom.set_axis_off()
                continue
            layer, head = chosen[model][column]
            panel = shown[(shown["layer"] == layer) & (shown["head"] == head)]
            _top(top, panel)
            _bottom(bottom, panel)
            step = 1 if options["numbering"] == "one_based" else 0
            title = style.title(options["title"], options["model_labels"][model], layer=layer + step, head=head + step)
            for said, axes in ((options["top"], top), (options["bottom"], bottom)):
                axes.set_title(title, fontsize=7)
                style.apply_axes(axes, options, model)
                style.apply_axes(axes, _of_panel(said, model, column, len(chosen[model])), model)
                axes.set_xlabel("Token position")
                if column == 0:
                    axes.set_ylabel("Average\nAttention Weight")
    fit(figure)
    for axes in figure.axes:
        for label in axes.texts:
            clear(label, axes)
    return figure, _caption(options, sources["attention_weights"], effect, chosen, hidden)


def _of_panel(said: Mapping[str, Any], model: str, column: int, panels: int) -> dict[str, Any]:
    """What the options `said` of a row have for one of its panels, where they may have a value for each."""
    found = {}
    for key, value in said.items():
        own = style.option(value, model)
        if own and isinstance(own[0], list):
            if len(own) != panels:
                raise AtlasError(
                    f"figures.*: {key} of the upper or lower row has {len(own)} values, but {model} is shown by "
                    f"{panels} heads; give one for each."
                )
            own = own[column]
        found[key] = own
    return found


def choose_heads(effect: pd.DataFrame, heads: Any, model: str) -> list[tuple[int, int]]:
    """[(layer, head)] of one model: as listed, or the n of a layer (or of all) with the largest drop.

    effect: rows of meaningless_effect of this model. Of a layer without attention the next one that has it is taken.
    """
    measured = effect[effect["weight_without"].notna()]
    if isinstance(heads, dict) and "auto" in heads:
        layer = heads.get("layer")
        if layer is not None and layer > effect["layer"].max():
            raise AtlasError(
                f"figures.*.heads.layer: {model} has no layer {layer}; its layers are 0 to {effect['layer'].max()}."
            )
        pool = measured if layer is None else measured[measured["layer"] == _attending(measured, layer, model)]
        pool = pool.sort_values(["effect", "layer", "head"]).head(heads["auto"])
        return [(int(row.layer), int(row.head)) for row in pool.itertuples()]
    listed = [tuple(pair) for pair in (heads[model] if isinstance(heads, dict) else heads)]
    for layer, head in listed:
        if lacks := no_head(layer, head, effect["layer"].max() + 1, effect["head"].max() + 1):
            raise AtlasError(f"figures.*.heads: {model} {lacks}; correct it.")
    without = sorted(set(listed) - set(zip(measured["layer"], measured["head"], strict=True)))
    if without:
        layers = ", ".join(map(str, sorted(measured["layer"].unique())))
        raise AtlasError(
            f"figures.*.heads: layer {without[0][0]} of {model} has no attention; layers {layers} have it."
        )
    return listed


def _attending(measured: pd.DataFrame, layer: int, model: str) -> int:
    """`layer`, or the next one that has attention."""
    layers = sorted(x for x in measured["layer"].unique() if x >= layer)
    if not layers:
        raise AtlasError(
            f"figures.*.heads.layer: no layer of {model} from {layer} on has attention; choose a lower one."
        )
    return int(layers[0])


def _hide_first(shown: pd.DataFrame, heads: Sequence[tuple[int, int]], choice: str) -> bool:
    if choice != "auto":
        return choice == "hide"
    first = shown[shown["position"] == shown["position"].min()].set_index(["layer", "head"])
    return bool((first.loc[first.index.isin(heads), "weight"] > SINK).any())


def _curve(axes: Axes, panel: pd.DataFrame, x: str, colour: Any, label: str) -> None:
    panel = panel.sort_values(x)
    low = panel["weight_low"].clip(lower=0)  # a t interval may reach below what a weight can be
    axes.fill_between(panel[x].astype(float), low, panel["weight_high"], color=colour, alpha=0.25, lw=0)
    axes.plot(panel[x].astype(float), panel["weight"], color=colour, label=label)


def _top(axes: Axes, panel: pd.DataFrame) -> None:
    outside = panel[~panel["in_span"]]
    for condition, colour, label in (
        ("without", style.BLUE, "w/o Meaningless tokens"),
        ("with", style.VERMILION, "w/ Meaningless tokens"),
    ):
        _curve(axes, outside[outside["condition"] == condition], "aligned_position", colour, label)
    _finish(axes, outside, 0.3, "upper left")


def _bottom(axes: Axes, panel: pd.DataFrame) -> None:
    panel = panel[panel["condition"] == "with"]
    _curve(axes, panel, "position", style.BLUE, "w/ Meaningless tokens")
    span = panel.loc[panel["in_span"], "position"]
    axes.axvspan(span.min() - 0.5, span.max() + 0.5, color="0.85", lw=0, zorder=0)
    axes.text(
        span.mean(),
        0.8,
        "Meaningless tokens",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="top",
        fontsize=6.5,
    )
    _finish(axes, panel, 0.35, "upper right")


def _finish(axes: Axes, panel: pd.DataFrame, free: float, corner: Literal["upper left", "upper right"]) -> None:
    """Room for a legend above the curves; no axis below what a weight can be."""
    if panel["weight_high"].max() > 0:
        style.headroom(axes, free)
    else:
        axes.set_ylim(0, 1)  # all weights are 0, around which matplotlib would centre the axis
    axes.legend(loc=corner, frameon=False)


def _caption(
    options: Options,
    sources: Documents,
    effect: pd.DataFrame,
    chosen: Mapping[str, Sequence[tuple[int, int]]],
    hidden: Sequence[str],
) -> str:
    parts = [
        "Average attention weight per key position (mean over later query positions), with and without a span of "
        f"meaningless tokens ({option_of(sources, options, _span)}).",
        f"Data: {options['dataset_label']}.",
    ]
    for model in options["models"]:
        rows = effect[effect["model"] == model]
        heads = ", ".join(f"({layer}, {head})" for layer, head in chosen[model])
        parts.append(
            f"{options['model_labels'][model]}: {rows['prompts'].iloc[0]} prompts "
            f"({rows['prompts_dropped'].iloc[0]} dropped), heads (layer, head; 0-based) {heads}."
        )
    auto = options["heads"]
    if isinstance(auto, dict) and "auto" in auto:
        where = "of all layers" if auto.get("layer") is None else f"of layer {auto['layer']} (0-based)"
        parts.append(f"Heads chosen per model: the {auto['auto']} {where} with the largest drop.")
        for model in options["models"]:
            if auto.get("layer") is not None and (layer := chosen[model][0][0]) != auto["layer"]:
                parts.append(f"That layer of {options['model_labels'][model]} has no attention: {layer} is shown.")
        parts += _exceptions(options, effect, chosen)
    parts += blank_layers(effect, "weight_without", options)
    reading = option_of(sources, options, lambda document: document["metric_options"]["reading"])
    confidence = option_of(sources, options, lambda document: percent(document["metric_options"]["confidence"]))
    parts.append(
        f"Reading: {reading}. Bands: {confidence} Student-t intervals over prompts, cut at 0. Positions "
        f"reached by fewer than {options['min_prompts']} prompts are left out; titles count "
        f"{options['numbering'].replace('_', '-')}."
    )
    rule = f" (rule: mean weight above {SINK} in a head shown)" if options["first_token"] == "auto" else ""
    parts.append(f"First token not shown{rule}: {', '.join(hidden) if hidden else 'none'}.")
    return " ".join(parts)


def _span(document: Document) -> str:
    extract = document["options"]
    span = extract["span"]
    what = f"{span['count']} x {span['string']!r}" if span["kind"] == "repeat" else f"{span['count']} random words"
    return f"{what}, inserted as {extract['insertion']}, {extract['template']} prompt"


def _exceptions(
    options: Options, effect: pd.DataFrame, chosen: Mapping[str, Sequence[tuple[int, int]]]
) -> Iterator[str]:
    """Where the heads chosen are fewer than asked for, or do not lose attention at all."""
    for model in options["models"]:
        label, heads = options["model_labels"][model], chosen[model]
        if len(heads) < options["heads"]["auto"]:
            yield f"{label} has only {len(heads)} there."
        drops = effect[effect["model"] == model].set_index(["layer", "head"])["effect"].loc[list(heads)] < 0
        if not drops.all():
            yield f"In {label} attention falls in {drops.sum() or 'none'} of these {len(heads)}."
