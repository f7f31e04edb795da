"""A panel for each model, two beside each other where the figure is wide enough, with one legend for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from atlas.plots import style
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Options

# Inches from which two panels stand side by side, and the height of a row as a share of the width.
_WIDE, _HEIGHTS = 5.0, {1: 0.6, 2: 0.38}


def panels_of_models(table: pd.DataFrame, options: Options, panel: Callable[[Axes, pd.DataFrame], None]) -> Figure:
    """The fitted figure in which `panel` has drawn the rows of each of `options["models"]` into axes of its own."""
    models = options["models"]
    columns = min(2 if options["width"] >= _WIDE else 1, len(models))
    rows = -(-len(models) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(options["width"], options["width"] * _HEIGHTS[columns] * rows),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(models) :]:
        axes.set_visible(False)
    for axes, model in zip(grid.flat, models, strict=False):
        panel(axes, table[table["model"] == model])
        axes.set_title(style.title(options["title"], options["model_labels"][model]))
        style.apply_axes(axes, options, model)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    legend_outside(figure, handles, labels, ncols=len(labels))
    fit(figure)
    return figure
