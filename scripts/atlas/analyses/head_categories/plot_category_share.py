"""Share of heads per category by depth, under the threshold alone and against the null."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np

from atlas.analyses.head_categories.colours import COLOURS
from atlas.analyses.head_categories.plot_head_categories import caption, legend, null, short_nulls
from atlas.plots import style
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Drawn, Options, Sources, Tables

_BINS = 6  # groups of consecutive layers
_TITLES = {"tau": "score > tau", "tau_and_null": "score > tau, q < alpha"}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption): one row per model, left by threshold alone, right against shuffled targets."""
    style.begin()
    categories, pairs = tables["head_categories"], tables["relation_pairs"]
    models = options["models"]
    figure, grid = plt.subplots(
        len(models), 2, figsize=(options["width"], options["width"] * 0.3 * len(models)), squeeze=False,
        sharey=True, layout="constrained",
    )  # fmt: skip
    for row, model in enumerate(models):
        for column, (significance, how) in enumerate(_TITLES.items()):
            part = categories[(categories["model"] == model) & (categories["significance"] == significance)]
            _bars(grid[row, column], part)
            title = style.title(options["title"], options["model_labels"][model])
            grid[row, column].set_title(f"{title}, {how}")
        grid[row, 0].set_ylabel("Labelled heads (%)")
    for axes in grid.flat:
        axes.set_ylim(0, max(5, 1.05 * max(other.dataLim.ymax for other in grid.flat)))
    for row, model in enumerate(models):
        for axes in grid[row]:
            style.apply_axes(axes, options, model)
    legend(figure)
    fit(figure)
    shown = {**options, "significance": "tau"}  # what the caption counts
    words = caption(categories[categories["significance"] == "tau"], pairs, shown, sources["head_categories"])
    right = f"Right panels count heads with {null(sources['head_categories'], options)} as well."
    text = f"Share of heads per category by depth (groups of layers) and in all layers. {words} {right}"
    return figure, " ".join([text, *short_nulls(categories, options)])


def _bars(axes: Axes, part: pd.DataFrame) -> None:
    layers, part = part["layer"].max() + 1, part.dropna(subset="label")
    edges = np.unique(np.linspace(0, layers, min(_BINS, layers) + 1).round().astype(int))
    groups = [
        (f"{low}-{high - 1}" if high > low + 1 else f"{low}", part[part["layer"].between(low, high - 1)])
        for low, high in pairwise(edges)
    ]
    groups.append(("all", part))
    bottom = np.zeros(len(groups))
    for label, colour in list(COLOURS.items())[1:]:  # what is unclassified is the rest to 100 %
        # Layers without attention have no heads, and so no bar.
        share = np.array([100 * (group["label"] == label).mean() if len(group) else 0 for _, group in groups])
        axes.bar(range(len(groups)), share, bottom=bottom, color=colour, width=0.85, lw=0)
        bottom += share
    axes.set_xticks(range(len(groups)), [name for name, _ in groups])
    axes.set_xlabel("Layers")
