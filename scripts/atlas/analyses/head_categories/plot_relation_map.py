"""How far every head implements one relation: phi by layer and head, a row of panels per model, a column per sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from atlas.analyses.head_categories.caption_words import first_state
from atlas.analyses.head_categories.relation_names import check_names
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table head_relations. Raises AtlasError for a relation that no model is scored on."""
    style.begin()
    models, signs = options["models"], options["signs"]
    scores = tables["head_relations"]
    scores = scores[(scores["dataset"] == options["dataset"]) & scores["model"].isin(models)]
    scores = scores[scores["sign"].isin(signs)]
    relation = _relation(scores, options)
    data = scores[scores["relation"] == relation]
    low, high = options["clim"] or (0, max(float(data["score"].max()), 0.01))
    figure, grid = plt.subplots(
        len(models), len(signs), figsize=(options["width"], options["width"] * 0.4 * len(models)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    image = None
    for row, model in enumerate(models):
        for column, sign in enumerate(signs):
            axes = grid[row, column]
            part = data[(data["model"] == model) & (data["sign"] == sign)]
            title = style.title(options["title"], options["model_labels"][model])
            axes.set_title(f"{title}, {sign}")
            if part.empty:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "not scored", transform=axes.transAxes, ha="center", va="center")
                continue
            grid_of = part.pivot(index="head", columns="layer", values="score")
            image = axes.imshow(
                grid_of.to_numpy(), origin="lower", aspect="auto", cmap="viridis", vmin=low, vmax=high,
                interpolation="nearest",
            )  # fmt: skip
            axes.set(xlabel="Layer", ylabel="" if column else "Head")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
            style.apply_axes(axes, options, model)
    assert image is not None, "the relation is scored for some model"
    figure.colorbar(image, ax=grid.ravel().tolist(), label=f"phi, {style.plain(relation)}", shrink=0.8, pad=0.02)
    fit(figure)
    return figure, _caption(data, relation, options, sources["head_relations"])


def _relation(scores: pd.DataFrame, options: Options) -> str:
    """The relation that is asked for, or that of the highest of `scores` of the first model that has one."""
    if options["relation"] is not None:
        check_names([options["relation"]], sorted(scores["relation"].unique()), "figures.*.relation")
        return str(options["relation"])
    own = next(rows for model in options["models"] if len(rows := scores[scores["model"] == model]))
    return str(own.sort_values(["score", "relation"], ascending=[False, True])["relation"].iloc[0])


def _caption(data: pd.DataFrame, relation: str, options: Options, sources: Documents) -> str:
    tau = option_of(sources, options, lambda d: format(d["metric_options"]["tau"], "g"))
    parts = [
        f"Share of the pairs of {relation} whose target is among the k largest entries of what a head maps the source "
        f"to, by its weights alone (phi); suppression: among the k smallest. Heads above tau = {tau} implement the "
        f"relation; {option_of(sources, options, first_state)}. Data: {options['dataset_label']}."
    ]
    for model in options["models"]:
        own = data[data["model"] == model]
        if own.empty:
            parts.append(f"{options['model_labels'][model]} is not scored on it: its tokenizer leaves too few pairs.")
            continue
        best = own.sort_values(["score", "layer", "head"], ascending=[False, True, True]).iloc[0]
        parts.append(
            f"{options['model_labels'][model]}: {best['pairs']} pairs, k = {best['k']}, highest {best['score']:.2f} in "
            f"head ({best['layer']}, {best['head']}), {best['sign']}."
        )
    return " ".join([*parts, *blank_layers(data, "score", options)])
