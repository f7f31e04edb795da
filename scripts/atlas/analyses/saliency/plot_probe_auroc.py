"""How well a probe of each layer's hidden state tells right from wrong answers, one panel per data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from atlas.errors import AtlasError
from atlas.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_COLOURS = [style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.VERMILION, style.BROWN, style.CYAN, style.PINK]
_MARKS = ["o", "s", "D", "^", "v", "P", "X", "*"]
_LINES = ["-", "--", "-.", ":"]


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table probe_auroc."""
    style.begin()
    auroc, datasets = tables["probe_auroc"], options["datasets"]
    figure, grid = plt.subplots(
        1, len(datasets), figsize=(options["width"], options["width"] * 0.8 / max(len(datasets), 2)), squeeze=False,
        sharey=True, layout="constrained",
    )  # fmt: skip
    for axes, dataset in zip(grid.flat, datasets, strict=True):
        for number, model in enumerate(options["models"]):
            part = auroc[(auroc["model"] == model) & (auroc["dataset"] == dataset)].sort_values("layer")
            if part.empty:
                raise AtlasError(f"figures: the table probe_auroc has no rows of {model} on {dataset}; run it again.")
            _curve(axes, part, style.plain(options["model_labels"][model]), number)
        axes.axhline(0.5, color="0.6", lw=0.7, zorder=0)
        axes.set(xlabel="Hidden state (0: embedding)")
        axes.set_title(style.title(options["title"], options["dataset_labels"][dataset]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
        style.apply_axes(axes, options, None)
    grid[0, 0].set_ylabel("AUROC (right against wrong)")
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
    first = auroc.iloc[0]
    weights = {
        "sampling": "answers weighted by how many each stands for",
        "equal": "each answer counted once",
    }[first["weights"]]
    parts = [
        "Logistic regression on the standardised hidden state of the last exact answer token "
        f"(C = {first['regularisation']:g}, {weights}), scored on the {first['folds']} stratified folds that it did "
        f"not see: mean AUROC within folds with DeLong's {options['confidence']:.0%} interval. Marks: the layer that "
        "saliency uses, chosen by this AUROC; nested: AUROC where the layer is chosen without the fold that is scored, "
        "free of the choice's optimism. Hidden state l is the residual after l layers, the last one before the final "
        "norm."
    ]
    for dataset, label in options["dataset_labels"].items():
        one = auroc[(auroc["dataset"] == dataset) & (auroc["model"] == options["models"][0])].iloc[0]
        parts.append(f"{label}: n = {one['correct']} right and {one['wrong']} wrong answers.")
    return " ".join(parts)
