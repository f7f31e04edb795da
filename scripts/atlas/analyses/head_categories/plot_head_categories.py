"""The category of every head, one panel per model.

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965 (grid of models, layers across, heads up; legend order and colours).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from atlas.analyses.head_categories.caption_words import first_state
from atlas.analyses.head_categories.colours import COLOURS
from atlas.plots import style
from atlas.plots.captions import blank_layers, by_model, option_of
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Document, Documents, Drawn, Options, Sources, Tables


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables head_categories and relation_pairs: one mark per head."""
    style.begin()
    categories, pairs = tables["head_categories"], tables["relation_pairs"]
    models = options["models"]
    table = categories[categories["significance"] == options["significance"]]
    columns = min(2, len(models))
    rows = math.ceil(len(models) / columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(options["width"], options["width"] * 0.45 * rows), squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(models) :]:
        axes.set_axis_off()
    for axes, model in zip(grid.flat, models, strict=False):
        part = table[table["model"] == model]
        size = _mark_size(axes, figure, part["layer"].max() + 1, part["head"].max() + 1)
        for label, colour in COLOURS.items():
            chosen = part[part["label"] == label]
            axes.scatter(chosen["layer"], chosen["head"], s=size, color=colour, marker="s", lw=0, label=label)
        axes.update_datalim([(0, 0), (part["layer"].max(), part["head"].max())])  # also layers without attention
        axes.set(xlabel="Layer", ylabel="Head")
        axes.set_title(style.title(options["title"], options["model_labels"][model]))
        axes.margins(0.5 / max(part["layer"].max(), 1), 0.5 / max(part["head"].max(), 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        style.apply_axes(axes, options, model)
    legend(figure)
    fit(figure)
    return figure, caption(table, pairs, options, sources["head_categories"])


def legend(figure: Figure) -> None:
    """One legend of all labels below the panels, in the source's order."""
    handles = [
        plt.Line2D([], [], ls="", marker="s", ms=5, color=colour, label=label) for label, colour in COLOURS.items()
    ]
    legend_outside(figure, handles, [*COLOURS], ncols=4, handletextpad=0.2)


def _mark_size(axes: Axes, figure: Figure, layers: int, heads: int) -> float:
    """Area in points^2 of a mark that leaves a little space to its neighbours."""
    place = axes.get_subplotspec()
    assert place is not None, "panels stand in a grid"
    box = place.get_position(figure)
    width, height = figure.get_size_inches()
    step = min(0.8 * box.width * width / layers, 0.7 * box.height * height / heads)
    return (72 * step * 0.9) ** 2


def caption(table: pd.DataFrame, pairs: pd.DataFrame, options: Options, sources: Documents) -> str:
    """What is shown, with which options, and how many relations and pairs each model's tokenizer leaves."""
    documents = by_model(sources)
    rule = option_of(sources, options, _threshold)
    if options["significance"] == "tau_and_null":
        rule += f" and {null(sources, options)}"
    ways = {model: _way(documents[model]) for model in options["models"]}
    shared = len(set(ways.values())) == 1
    parts = [
        f"Categories of relations that each attention head implements, read from its weights (MAPS): {rule}"
        + (f"; {ways[options['models'][0]]}. " if shared else ". ")
        + f"Data: {options['dataset_label']}."
    ]
    for model in options["models"]:
        report, part = pairs[pairs["model"] == model], table[table["model"] == model].dropna(subset="label")
        dropped = report.loc[~report["used"], "relation"].tolist()
        labelled = (part["label"] != "Unclassified").mean()
        parts.append(
            f"{options['model_labels'][model]}: {'' if shared else ways[model] + '; '}"
            f"{report['used'].sum()} of {len(report)} relations "
            f"(dropped: {', '.join(dropped) or 'none'}), {report['scored'].sum()} of "
            f"{report['given'].sum()} pairs, {len(part)} heads, {labelled:.0%} labelled."
        )
    blank = blank_layers(table, "label", options)
    return " ".join([*parts, *blank, *_unshared(pairs, options), *short_nulls(table, options)])


def _unshared(pairs: pd.DataFrame, options: Options) -> Iterator[str]:
    """The relations that some of the models are scored on and others not."""
    used = pairs[pairs["used"] & pairs["model"].isin(options["models"])]
    having = used.groupby("relation", sort=False)["model"].agg(set)
    some = [
        f"{relation} ({', '.join(options['model_labels'][model] for model in options['models'] if model in models)})"
        for relation, models in having.items()
        if len(models) < len(options["models"])
    ]
    if some:
        yield f"Not all models are scored on the same relations; only some on: {', '.join(some)}."


def null(sources: Documents, options: Options) -> str:
    """What a score must also pass under tau_and_null."""
    return option_of(sources, options, _null)


def short_nulls(table: pd.DataFrame, options: Options) -> Iterator[str]:
    """A sentence on each model whose permutations are too few for a single head to be significant."""
    for model in options["models"]:
        said = table.loc[(table["model"] == model) & (table["warning"] != ""), "warning"]
        if len(said):
            yield f"Too few permutations for {options['model_labels'][model]}: {said.iloc[0]}."


def _threshold(document: Document) -> str:
    return f"score above tau = {document['metric_options']['tau']:g} in either sign"


def _null(document: Document) -> str:
    metric = document["metric_options"]
    return f"q < {metric['alpha']:g} against {metric['permutations']} permutations of the targets"


def _way(document: Document) -> str:
    """The options that may differ between models: k, and what stands for a source token above layer 0."""
    k = document["metric_options"]["k"]["default"]
    return f"k = {k} unless the relation has its own; {first_state(document)}"
