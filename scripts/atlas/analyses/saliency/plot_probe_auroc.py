"""How well a probe of each layer's hidden state tells right from wrong answers, one panel per data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from atlas.errors import AtlasError
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import told
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_COLOURS = [style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.VERMILION, style.BROWN, style.CYAN, style.PINK]
_MARKS = ["o", "s", "D", "^", "v", "P", "X", "*"]
_LINES = ["-", "--", "-.", ":"]
_COLUMNS = 3
_ENTRIES, _ENTRY = 2, 0.14  # models in a legend that a panel has room for, and inches for each of the others
_WEIGHTS = {"sampling": "answers weighted by how many each stands for", "equal": "each answer counted once"}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table probe_auroc."""
    style.begin()
    auroc, datasets = tables["probe_auroc"], options["datasets"]
    columns = min(len(datasets), _COLUMNS)
    lines = -(-len(datasets) // columns)
    legend = _ENTRY * max(len(options["models"]) - _ENTRIES, 0)
    height = (options["width"] * 0.8 / max(columns, 2) + legend) * lines
    figure, grid = plt.subplots(
        lines, columns, figsize=(options["width"], height), squeeze=False, sharey=True, layout="constrained"
    )
    for axes in grid.flat[len(datasets) :]:
        axes.set_axis_off()
    for axes, dataset in zip(grid.flat, datasets, strict=False):
        for number, model in enumerate(options["models"]):
            part = auroc[(auroc["model"] == model) & (auroc["dataset"] == dataset)].sort_values("layer")
            if part.empty:
                raise AtlasError(f"figures.*: the table probe_auroc has no rows of {model} on {dataset}; run it again.")
            _curve(axes, part, style.plain(options["model_labels"][model]), number)
        axes.axhline(0.5, color="0.6", lw=0.7, zorder=0)
        axes.set(xlabel="Hidden state (0: embedding)")
        axes.set_title(style.title(options["title"], options["dataset_labels"][dataset]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
        style.apply_axes(axes, options, None)
    for axes in grid[:, 0]:
        axes.set_ylabel("AUROC (right against wrong)")
    fit(figure)
    return figure, _caption(auroc, options, sources["probe_auroc"])


def _curve(axes: Axes, part: pd.DataFrame, label: str, number: int) -> None:
    colour, line = _COLOURS[number % len(_COLOURS)], _LINES[number % len(_LINES)]
    nested = part["nested_auroc"].iloc[0]
    trained = part["auroc"].notna().any()
    text = f"{label} (nested {nested:.2f})" if trained else f"{label} (too few answers of a kind)"
    axes.fill_between(part["layer"], part["auroc_low"], part["auroc_high"], color=colour, alpha=0.15, lw=0)
    mark = _MARKS[number % len(_MARKS)]
    axes.plot(part["layer"], part["auroc"], color=colour, ls=line, label=text)
    chosen = part[part["chosen"]]
    axes.plot(chosen["layer"], chosen["auroc"], color=colour, ls="", marker=mark, ms=5, mec="black", mew=0.6)


def _caption(auroc: pd.DataFrame, options: Options, documents: Documents) -> str:
    shown = auroc[auroc["model"].isin(options["models"]) & auroc["dataset"].isin(options["datasets"])]
    first = {model: shown[shown["model"] == model].iloc[0] for model in options["models"]}
    labels = options["model_labels"]
    probe = told({m: f"C = {row['regularisation']:g}, {_WEIGHTS[row['weights']]}" for m, row in first.items()}, labels)
    folds = told({model: f"{row['folds']}" for model, row in first.items()}, labels)
    parts = [
        "Logistic regression on the standardised hidden state of the last exact answer token "
        f"({probe}), scored on the {folds} stratified folds that it did "
        f"not see: mean AUROC within folds with DeLong's {percent(options['confidence'])} interval. Marks: the layer "
        "that saliency uses, chosen by this AUROC; nested: AUROC where the layer is chosen without the fold that is "
        "scored, free of the choice's optimism. Hidden state l is the residual after l layers, the last one before the "
        "final norm."
    ]
    for dataset, label in options["dataset_labels"].items():
        own = shown[shown["dataset"] == dataset].drop_duplicates("model").set_index("model").loc[options["models"]]
        counts = {row.Index: f"{row.correct} right and {row.wrong} wrong answers" for row in own.itertuples()}
        parts.append(f"{label}: n = {told(counts, labels)}.")
    return " ".join(parts)
