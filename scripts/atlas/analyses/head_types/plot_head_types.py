"""Maps of the previous-token, duplicate-token and induction scores of every head, one row of three per model.

Source: Olsson et al. 2022, arXiv 2209.11895 (the scores).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from atlas.analyses.head_types.scores import TYPES
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of, told
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_WORDS = {"previous_token": "previous token", "duplicate_token": "duplicate token", "induction": "induction"}
_DRAWN = {
    "vocabulary": "tokens drawn from the vocabulary",
    "text": "tokens drawn from those of {data}",
}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table head_types; the head with the largest score of a panel stands in its title."""
    style.begin()
    models, heads = options["models"], tables["head_types"]
    figure, grid = plt.subplots(
        len(models),
        len(TYPES),
        figsize=(options["width"], options["width"] * 0.33 * len(models)),
        squeeze=False,
        sharex="row",
        sharey="row",
        layout="constrained",
    )
    for row, model in zip(grid, models, strict=True):
        own = heads[heads["model"] == model]
        for axes, kind in zip(row, TYPES, strict=True):
            image = _map(axes, own, kind, options["clim"] or (0, 1))
            axes.set_title(f"{_WORDS[kind]}\n{_strongest(own, kind)}")
        title = style.title(options["title"], options["model_labels"][model])
        row[0].set_ylabel(f"{title}\nHead")
        figure.colorbar(image, ax=list(row), label="attention", pad=0.01, aspect=25)
    for axes in grid[-1]:
        axes.set_xlabel("Layer")
    fit(figure)
    blank = blank_layers(heads, TYPES[0], options)
    return figure, " ".join([_caption(heads, options, sources["head_types"]), *blank])


def _map(axes: Axes, heads: pd.DataFrame, kind: str, limits: Sequence[float]) -> AxesImage:
    image = axes.imshow(
        heads.pivot(index="head", columns="layer", values=kind),
        origin="lower",
        aspect="auto",
        cmap="viridis",
        vmin=limits[0],
        vmax=limits[1],
        interpolation="nearest",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return image


def _strongest(heads: pd.DataFrame, kind: str) -> str:
    best = heads.loc[heads[kind].idxmax()]
    return f"{best[kind]:.2f} in ({best['layer']}, {best['head']})"


def _caption(heads: pd.DataFrame, options: Options, sources: Documents) -> str:
    labels = options["model_labels"]
    first = {model: heads[heads["model"] == model].iloc[0] for model in options["models"]}
    drawn = told(
        {model: _DRAWN[row["tokens"]].format(data=options["dataset_label"]) for model, row in first.items()}, labels
    )
    number = told({model: f"{row['sequences']} sequences" for model, row in first.items()}, labels)
    length = told({model: f"{row['length']}" for model, row in first.items()}, labels)
    begins = told({model: "first" if row["bos"] else "not added" for model, row in first.items()}, labels)
    flat = told({model: f"{row['uniform']:.3f}" for model, row in first.items()}, labels)
    best = "; ".join(f"{labels[model]}: {_best(heads[heads['model'] == model])}" for model in options["models"])
    confidence = option_of(sources, options, lambda document: percent(document["metric_options"]["confidence"]))
    return (
        "Standard head types. Mean attention in random sequences whose second half repeats the first, from the tokens "
        "of the second half to the token before (previous token), to the same token in the first half (duplicate "
        f"token), and to the token behind that one (induction). Largest, with {confidence} bootstrap "
        f"intervals over sequences: {best}. Attention that is alike on all tokens so far gives {flat}. "
        f"Models: {', '.join(labels[model] for model in options['models'])}. n = {number}, halves of {length} "
        f"different tokens, {drawn}; beginning-of-sequence token {begins}. Layers and heads count from 0."
    )


def _best(heads: pd.DataFrame) -> str:
    rows = {kind: heads.loc[heads[kind].idxmax()] for kind in TYPES}
    return ", ".join(
        f"{_WORDS[kind]} {row[kind]:.3f} [{row[f'{kind}_low']:.3f}, {row[f'{kind}_high']:.3f}] in head "
        f"({row['layer']}, {row['head']})"
        for kind, row in rows.items()
    )
