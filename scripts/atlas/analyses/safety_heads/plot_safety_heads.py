"""The strongest safety heads of each model over layer and head, one panel per ablation.

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, Fig. 5b.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from atlas.analyses.safety_heads.ablation_words import ablation_words
from atlas.dtypes import HALF
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Document, Documents, Drawn, Options, Sources, Tables

_INSIDE, _SHORT = 2, 32  # models, and characters of their labels, that the legend has room for above the heads
_MARKERS = ("o", "x", "s", "^", "D", "v", "P", "*")


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table safety_heads: marker by model, colour by Generalized Ships in degrees."""
    style.begin()
    models, ablations, heads = options["models"], options["ablations"], tables["safety_heads"]
    data = heads[
        (heads["dataset"] == options["dataset"]) & heads["model"].isin(models) & (heads["rank"] == options["rank"])
    ]
    inside = len(models) <= _INSIDE and all(len(options["model_labels"][model]) <= _SHORT for model in models)
    figure, grid = plt.subplots(
        1,
        len(ablations),
        figsize=(options["width"] * max(1, len(ablations) / 2), options["width"] * 0.42),
        squeeze=False,
        layout="constrained",
    )
    for axes, ablation in zip(grid[0], ablations, strict=True):
        panel = data[data["ablation"] == ablation]
        _panel(figure, axes, _shown(panel, options["top"]), options, options["clim"][ablation])
        _grid(axes, panel, headroom=inside)
        axes.set_title(options["titles"][ablation].format(top=options["top"]))
        axes.set(xlabel="Layer", ylabel="Head")
        style.apply_axes(axes, options, None)
    for axes in grid[0] if options["legend"] == "each" and inside else grid[0, -1:]:
        _legend(figure, axes, models, options["model_labels"], inside)
    fit(figure)
    return figure, _caption(data, options, sources["safety_heads"])


def _shown(heads: pd.DataFrame, top: int) -> pd.DataFrame:
    """The `top` strongest heads of each model; `unsure`: by less than two errors stronger than one left out."""
    parts = []
    for _, rows in heads.groupby("model", sort=False):
        shown, others = rows[rows["position"] <= top], rows[rows["position"] > top]
        known = 2 * shown["error_degrees"].fillna(-1.0)
        parts.append(shown.assign(unsure=shown["ships_degrees"] - others["ships_degrees"].max() <= known))
    return pd.concat(parts)


def _panel(figure: Figure, axes: Axes, shown: pd.DataFrame, options: Options, limits: Sequence[float] | None) -> None:
    """limits: of the colours, in degrees; None: from 0 to the strongest head."""
    models, high = options["models"], shown["ships_degrees"].max()
    # From the weakest of those shown, a tenth of a degree would look like everything.
    low, end = limits or (0, high if high > 0 else 1)
    for model, marker in zip(models, _MARKERS * len(models), strict=False):
        rows = shown[shown["model"] == model]
        points = axes.scatter(
            rows["layer"],
            rows["head"],
            c=rows["ships_degrees"],
            marker=marker,
            s=30 if marker == "x" else 52,  # a cross on a circle leaves both to be seen
            linewidths=1.6 if marker == "x" else 0.4,
            cmap="viridis",
            vmin=low,
            vmax=end,
            edgecolors=None if marker == "x" else "0.25",
            zorder=3,
        )
        unsure = rows[rows["unsure"]]
        if unsure.empty:
            continue
        axes.scatter(
            unsure["layer"], unsure["head"], s=150, facecolors="none", edgecolors="0.25", lw=0.8, ls=":", zorder=4
        )
    beyond = (shown["ships_degrees"] < low).any(), (shown["ships_degrees"] > end).any()
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
    figure.colorbar(points, ax=axes, label=options["bar_label"], pad=0.02, extend=extend)


def _grid(axes: Axes, panel: pd.DataFrame, headroom: bool) -> None:
    """The whole model in view, ticks every 2 as published; wider steps where they would not fit."""
    layers, heads = panel["layer"].max() + 1, panel["head"].max() + 1
    axes.set(xlim=(-1, layers), ylim=(-1, heads + headroom * (0.3 * heads if heads < 12 else 0.22 * heads)))
    for axis, size in ((axes.xaxis, layers), (axes.yaxis, heads)):
        axis.set_major_locator(MultipleLocator(2) if size <= 34 else MaxNLocator(integer=True, nbins=16))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick < heads])
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick < layers])
    axes.grid(alpha=0.25, lw=0.4)


def _legend(figure: Figure, axes: Axes, models: Sequence[str], labels: Mapping[str, str], inside: bool) -> None:
    handles = [
        Line2D([], [], ls="", marker=marker, color="0.25", ms=5, label=style.plain(labels[model]))
        for model, marker in zip(models, _MARKERS * len(models), strict=False)
    ]
    if inside:
        axes.legend(handles=handles, loc="upper right", borderpad=0.3, handletextpad=0.2)
    else:
        legend_outside(
            figure, handles, [str(handle.get_label()) for handle in handles], ncols=_INSIDE, handletextpad=0.2
        )


def _caption(data: pd.DataFrame, options: Options, sources: Documents) -> str:
    epsilon = option_of(sources, options, lambda document: f"{document['options']['epsilon']:g}")
    template = option_of(sources, options, lambda document: repr(document["options"]["template"]))
    parts = [
        f"The {options['top']} heads of each model whose ablation turns the leading {options['rank']}-dimensional "
        "subspace of the prompts' last-token states the most (Generalized Ships, sum of principal angles in degrees). "
        f"Ablations: {ablation_words(options['ablations'], epsilon)}. "
        f"Data: {options['dataset_label']}, template {template}."
    ]
    for model in options["models"]:
        rows = data[data["model"] == model]
        strongest = "; ".join(
            f"{row.ablation} ({row.layer}, {row.head}) {row.ships_degrees:.2f} "
            f"[{row.ships_low:.2f}, {row.ships_high:.2f}]"
            for row in rows[(rows["position"] == 1) & rows["ablation"].isin(options["ablations"])].itertuples()
        )
        parts.append(
            f"{options['model_labels'][model]}: {rows['queries'].iloc[0]} prompts ({rows['queries_dropped'].iloc[0]} "
            f"dropped); strongest (layer, head) {strongest}."
        )
        parts += blank_layers(rows, "ships_degrees", {**options, "models": [model]})
        if (heads := int(rows["position"].max())) < options["top"]:
            parts.append(f"It has only {heads} heads.")
        parts += _precision(rows[rows["ablation"].isin(options["ablations"])], options)
    parts.append(
        f"Brackets: {option_of(sources, options, _intervals)}. Layers and heads count from 0. {_colours(data, options)}"
    )
    return " ".join(parts)


def _precision(rows: pd.DataFrame, options: Options) -> Iterator[str]:
    """What a model ran in; in half precision how far its angles err, and which orders that leaves open."""
    dtype = rows["dtype"].iloc[0]
    if dtype not in HALF:
        yield f"Computed in {dtype}."
        return
    errors = rows.groupby("ablation", sort=False)["error_degrees"].first()
    if errors.isna().any():
        yield f"Computed in {dtype}; its error was not measured, as the model does not fit in float32."
        return
    said = ", ".join(f"{error:.2g} ({ablation})" for ablation, error in errors.items())
    yield f"Computed in {dtype}: against float32 the angles of one head of each layer err by up to {said} degrees."
    for ablation in options["ablations"]:
        own = rows[rows["ablation"] == ablation]
        best, unsure = own[own["position"] == 1].iloc[0], int(_shown(own, options["top"])["unsure"].sum())
        yield (
            f"Less than twice that is no order; {ablation}: {best['tied']} more could be the strongest, and {unsure} "
            "of those shown (ringed) might be one that is not."
        )


def _colours(data: pd.DataFrame, options: Options) -> str:
    """What the colours of a panel mean, and which heads are beyond them."""
    own = {ablation: options["clim"][ablation] for ablation in options["ablations"] if options["clim"][ablation]}
    if not own:
        return "Colours share one scale per panel, which begins at 0."
    shown, told = data[data["position"] <= options["top"]], []
    for ablation, (low, high) in own.items():
        degrees = shown.loc[shown["ablation"] == ablation, "ships_degrees"]
        beyond = int(((degrees < low) | (degrees > high)).sum())
        told.append(f"{ablation} {low:g} to {high:g} degrees ({beyond} of {len(degrees)} heads beyond)")
    return f"Colours: {'; '.join(told)}{'' if len(own) == len(options['ablations']) else '; others from 0'}."


def _intervals(document: Document) -> str:
    metric = document["metric_options"]
    return f"{percent(metric['confidence'])} bootstrap intervals over prompts ({metric['bootstrap']} draws)"
