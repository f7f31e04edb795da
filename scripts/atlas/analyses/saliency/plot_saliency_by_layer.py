"""Saliency of question-to-answer flow by layer, beside that of random question tokens, one column per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy import stats

from atlas.analyses.saliency import plot_common as common
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Drawn, Options, Sources, Tables

_COLUMNS = 3


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table saliency_layers."""
    style.begin()
    part = common.rows(tables["saliency_layers"], options, "saliency_layers")
    blank = blank_layers(part, "saliency", options, "layers that the loss reaches")
    hybrids, part = set(part.loc[part["saliency"].isna(), "model"]), part.dropna(subset="saliency")
    models = options["models"]
    columns = min(len(models), _COLUMNS)
    lines = -(-len(models) // columns)
    figure, grid = plt.subplots(
        2 * lines, columns, figsize=(options["width"], options["width"] * 0.36 * 2 * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes in grid[-2:, len(models) - columns * (lines - 1) :].flat:
        axes.set_axis_off()
    for number, model in enumerate(models):
        line, column = divmod(number, columns)
        upper, lower = grid[2 * line : 2 * line + 2, column]
        upper.sharex(lower)
        upper.tick_params(labelbottom=False)
        for axes, flow in zip((upper, lower), common.FLOWS, strict=True):
            _panel(axes, part[part["model"] == model], flow, options, marked=model in hybrids)
            style.apply_axes(axes, options, model)
        upper.set_title(style.title(options["title"], options["model_labels"][model]))
        lower.set_xlabel("Layer")
    handles = [
        Line2D([], [], color=common.colour(options, dataset, flow), label=common.symbol(flow, label))
        for dataset, label in options["dataset_labels"].items()
        for flow in common.FLOWS
    ]
    handles.append(Line2D([], [], color="0.3", ls="--", label="from random question tokens"))
    legend_outside(figure, handles, [str(handle.get_label()) for handle in handles], ncols=3)
    fit(figure)
    return figure, " ".join([_caption(part, options), *blank])


def _panel(axes: Axes, part: pd.DataFrame, flow: str, options: Options, *, marked: bool) -> None:
    for dataset in options["datasets"]:
        colour = common.colour(options, dataset, flow)
        for source, dashes, mark in (("question", "-", "o"), ("random", "--", "x")):
            name = flow.replace("question", source)
            one = part[(part["dataset"] == dataset) & (part["flow"] == name)]
            if one.empty:
                continue
            layer, mean, half = weighted_means(one, options["confidence"])
            if source == "question":
                axes.fill_between(layer, np.maximum(mean - half, 0), mean + half, color=colour, alpha=0.25, lw=0)
            axes.plot(layer, mean, color=colour, ls=dashes, marker=mark if marked or len(layer) == 1 else "")
    axes.set_ylabel(rf"Mean $S_{{\,\cdot\, \rightarrow {common.FLOWS[flow]}}}$")
    axes.set_ylim(bottom=0)
    if part["layer"].nunique() == 1:
        axes.set_xlim(part["layer"].iloc[0] - 1, part["layer"].iloc[0] + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def weighted_means(part: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """(layers, weighted means, half widths of their normal intervals over samples), arrays of one length."""
    wide = part.pivot(index="sample", columns="layer", values="saliency")
    weight = part.drop_duplicates("sample").set_index("sample")["weight"].reindex(wide.index).to_numpy()
    share = weight / weight.sum()
    values = wide.to_numpy()
    mean = share @ values
    error = np.sqrt(share**2 @ (values - mean) ** 2)
    return wide.columns.to_numpy(), mean, stats.norm.ppf(0.5 + confidence / 2) * error


def _caption(part: pd.DataFrame, options: Options) -> str:
    return " ".join(
        [
            f"{common.measure(part, options)}.",
            f"Mean over answers with sampling weights, and {percent(options['confidence'])} intervals over answers; "
            "dashed: the same number of random question tokens in place of the exact ones. Layers count from 0; those "
            "above the probe have no gradient and are not there. Axes are per panel.",
            *common.samples(part, options),
        ]
    )
