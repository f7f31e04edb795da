"""Sink rate by layer for natural, random and repeated input, and the map of attention on the first token.

Source: Gu et al., ICLR 2025, arXiv 2410.10781 (the metric).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from atlas.analyses.sinks.inputs import INPUTS, STYLES
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of, told
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables sinks and sink_rates: one row per model, curves left, map right."""
    style.begin()
    models, heads, rates = options["models"], tables["sinks"], tables["sink_rates"]
    figure, grid = plt.subplots(
        len(models),
        2,
        figsize=(options["width"], options["width"] * 0.36 * len(models)),
        squeeze=False,
        layout="constrained",
        width_ratios=[1, 1.25],
    )
    for row, model in enumerate(models):
        title = style.title(options["title"], options["model_labels"][model])
        _curves(grid[row, 0], rates[rates["model"] == model], title)
        style.apply_axes(grid[row, 0], options, model)
        _map(figure, grid[row, 1], heads[heads["model"] == model], title)
    fit(figure)
    blank = blank_layers(heads, "alpha", options)
    return figure, " ".join([_caption(rates, options, sources["sink_rates"]), *blank])


def _curves(axes: Axes, rates: pd.DataFrame, title: str) -> None:
    for kind, (colour, dashes, label) in STYLES.items():
        part = rates[(rates["input"] == kind) & rates["layer"].notna()].sort_values("layer")
        attending = part["rate"].notna()
        part, marker = part[attending], "" if attending.all() else "."  # between marks there are other layers
        if part.empty:
            continue
        whole = rates[(rates["input"] == kind) & rates["layer"].isna()]["rate"].iloc[0]
        x = part["layer"].astype(int)
        axes.fill_between(x, 100 * part["rate_low"], 100 * part["rate_high"], color=colour, alpha=0.25, lw=0)
        axes.plot(x, 100 * part["rate"], color=colour, ls=dashes, marker=marker, label=f"{label} {100 * whole:.1f} %")
    epsilon = rates["epsilon"].iloc[0]
    axes.set(xlabel="Layer", ylabel=rf"Sink$_0^{{\epsilon={epsilon:g}}}$ (% of heads)", ylim=(-3, 103))
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Below the axes: the curves of a trained model use the whole panel.
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        ncols=3,
        columnspacing=1.0,
        handlelength=1.5,
        frameon=False,
        title="mean over all layers",
        title_fontsize=7,
    )


def _map(figure: Figure, axes: Axes, heads: pd.DataFrame, title: str) -> None:
    kind = "natural" if (heads["input"] == "natural").any() else heads["input"].iloc[0]
    alpha = heads[heads["input"] == kind].pivot(index="head", columns="layer", values="alpha")
    image = axes.imshow(alpha, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xlabel="Layer", ylabel="Head")
    axes.set_title(f"{title}, {STYLES[kind][2]} input")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=axes, label=r"attention on the first token $\alpha_0$", pad=0.02)


def _caption(rates: pd.DataFrame, options: Options, sources: Documents) -> str:
    labels = ", ".join(options["model_labels"][model] for model in options["models"])
    first = {model: rates[rates["model"] == model].iloc[0] for model in options["models"]}
    kinds = [kind for kind in INPUTS if (rates["input"] == kind).any()]
    natural = f"Natural text: {options['dataset_label']}. " if "natural" in kinds else ""
    epsilon = told({model: f"{row['epsilon']:g}" for model, row in first.items()}, options["model_labels"])
    number = told(
        {model: f"{row['sequences']} sequences of {row['length']} tokens" for model, row in first.items()},
        options["model_labels"],
    )
    confidence = option_of(sources, options, lambda document: percent(document["metric_options"]["confidence"]))
    begins = {model: "first" if row["bos"] else "not added" for model, row in first.items()}
    return (
        "Attention sinks. Left: share of heads in each layer whose mean attention on the first token exceeds epsilon = "
        f"{epsilon}, with {confidence} bootstrap intervals over sequences; the legend gives "
        f"the mean over all layers. Input: {', '.join(INPUTS[kind] for kind in kinds)}. Right: mean "
        "attention on the first token of every head. "
        f"Models: {labels}. {natural}n = {number} per kind of input; "
        f"beginning-of-sequence token {told(begins, options['model_labels'])}. Layers and heads count from 0."
    )
