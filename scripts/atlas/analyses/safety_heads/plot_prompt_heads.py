"""Which heads change the answer to one prompt most: by Ships of that prompt, one panel per model and ablation.

Source: Zhou et al., ICLR 2025, arXiv 2410.13708, equation 8 (Ships of one query is the KL divergence).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from atlas.analyses.safety_heads.ablation_words import NAMES, ablation_words
from atlas.errors import AtlasError
from atlas.nearest import nearest
from atlas.plots import style
from atlas.plots.captions import option_of
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Drawn, Options, Sources, Tables


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table safety_queries. Raises AtlasError for a prompt that no model was given."""
    style.begin()
    models, ablations, every = options["models"], options["ablations"], tables["safety_queries"]
    data = every[(every["dataset"] == options["dataset"]) & every["model"].isin(models)]
    prompt = _prompt(data, options)
    data = data[data["query"] == prompt]
    height = 0.5 + 0.15 * options["top"]
    figure, grid = plt.subplots(
        len(models), len(ablations), figsize=(options["width"], height * len(models) + 0.4), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    said = []
    for row, model in enumerate(models):
        for column, ablation in enumerate(ablations):
            own = data[(data["model"] == model) & (data["ablation"] == ablation)]
            own = own[own["position"] <= options["top"]].sort_values("position")
            axes = grid[row, column]
            title = style.title(options["title"], options["model_labels"][model])
            axes.set_title(f"{title}, {NAMES[ablation]}")
            _bars(axes, own)
            if len(own):
                best = own.iloc[0]
                said.append(
                    f"{options['model_labels'][model]}, {ablation}: ({best['layer']}, {best['head']}) {best['kl']:.3g}."
                    + (f" It has only {len(own)} heads." if len(own) < options["top"] else "")
                )
    fit(figure)
    epsilon = option_of(sources["safety_queries"], options, lambda document: f"{document['options']['epsilon']:g}")
    template = option_of(sources["safety_queries"], options, lambda document: repr(document["options"]["template"]))
    words = (
        f"The {options['top']} heads whose ablation changes the next token after the prompt {prompt} most: Ships of "
        f"this prompt, KL(clean || ablated) in nats. Ablations: {ablation_words(ablations, epsilon)}. One prompt has "
        f"no interval. Data: {options['dataset_label']}, template {template}. Strongest (layer, head), counted from 0:"
    )
    return figure, " ".join([words, *said])


def _prompt(data: pd.DataFrame, options: Options) -> str:
    """The prompt that is shown. Raises AtlasError where there is none."""
    models = data["model"].nunique()
    given = data.groupby("query", sort=False)["model"].nunique()
    asked = options["prompt"]
    if asked is None:
        shared = given.index[given == models]
        if len(shared) == 0:
            raise AtlasError("figures.*.prompt: no prompt was given to all models of the figure; name one.")
        return str(shared[0])
    if asked not in given.index:
        raise AtlasError(
            f"figures.*.prompt: {options['dataset_label']} has no prompt {asked!r} that a model was given; "
            f"{nearest(asked, map(str, given.index))}"
        )
    return str(asked)


def _bars(axes: Axes, own: pd.DataFrame) -> None:
    if own.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "not given this prompt", transform=axes.transAxes, ha="center", va="center")
        return
    labels = [f"({layer}, {head})" for layer, head in zip(own["layer"], own["head"], strict=True)]
    axes.barh(range(len(own)), own["kl"], color=style.BLUE, height=0.7, lw=0)
    axes.set_yticks(range(len(own)), labels)
    axes.set_ylim(len(own) - 0.4, -0.6)
    axes.set_xlabel("Ships of this prompt (KL, nats)")
