"""Refusal rate against the number of ablated heads, strongest heads and random heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from atlas.analyses.safety_heads.ablation_words import NAMES
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import option_of, told
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_STYLES = {
    "top": (style.VERMILION, "-", "o", "strongest heads"),
    "random": (style.BLUE, "--", "s", "random heads"),
    "own": (style.PURPLE, "-.", "^", "strongest heads of each prompt"),
}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table ablation_effect: one row per model, one column per ablation.

    The caption names the groups of the table head_groups, where it is given.
    """
    style.begin()
    effect, groups = tables["ablation_effect"], tables.get("head_groups")
    data = effect[(effect["dataset"] == options["dataset"]) & effect["model"].isin(options["models"])]
    models, ablations = options["models"], options["ablations"]
    figure, grid = plt.subplots(
        len(models),
        len(ablations),
        figsize=(options["width"], options["width"] * 0.36 * len(models)),
        squeeze=False,
        layout="constrained",
    )
    silent = []
    for row, model in enumerate(models):
        rows = data[data["model"] == model]
        # Without a refusal to begin with, ablation has nothing to take away, whatever its curve does.
        whole = _with_all_heads(rows, options)
        never = len(whole) > 0 and not whole["refused"].any()
        if never:
            silent.append(model)
        for column, ablation in enumerate(ablations):
            axes = grid[row, column]
            _panel(axes, rows[rows["ablation"] == ablation])
            label = style.title(options["title"], options["model_labels"][model])
            axes.set_title(f"{label}, {NAMES[ablation]}")
            if never:
                prompts = rows["prompts"].iloc[0]
                note = f"this model refuses none of the {prompts} prompts\nwith all heads in place: nothing to lose"
                axes.text(0.5, 0.9, note, transform=axes.transAxes, ha="center", va="top", fontsize=7.5, color="0.25")
            style.apply_axes(axes, options, model)
            if column:
                axes.set_ylabel("")
    # Below the panels: curves and bands may fill them.
    legend_outside(figure, *grid[0, 0].get_legend_handles_labels(), ncols=2)
    fit(figure)
    return figure, _caption(data, options, sources["ablation_effect"], silent) + _groups(groups, options)


def _with_all_heads(rows: pd.DataFrame, options: Options) -> pd.DataFrame:
    """The answers of one model before anything is ablated: one row per ablation, of one draw each."""
    return rows[
        (rows["heads_ablated"] == 0) & (rows["selection"] == "top") & rows["ablation"].isin(options["ablations"])
    ]


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for selection, (colour, dashes, marker, label) in _STYLES.items():
        part = rows[rows["selection"] == selection].sort_values("heads_ablated")
        if part.empty:  # `own` is an option
            continue
        x = part["heads_ablated"]
        axes.fill_between(x, part["low"], part["high"], color=colour, alpha=0.15, lw=0)
        axes.plot(x, part["refusal_rate"], color=colour, ls=dashes, marker=marker, ms=3.5, label=label)
    axes.set(xlabel="Heads ablated", ylabel="Refusal rate", ylim=(-0.03, 1.03))
    axes.set_xticks(sorted(rows["heads_ablated"].unique()))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _groups(groups: pd.DataFrame | None, options: Options) -> str:
    """A sentence on each group that the greedy search found."""
    text = ""
    for (model, ablation), rows in () if groups is None else groups.groupby(["model", "ablation"], sort=False):
        if model in options["models"] and set(rows["dataset"]) >= {options["dataset"]}:
            rows = rows[rows["dataset"] == options["dataset"]].sort_values("step")
            heads = " + ".join(f"({row.layer}, {row.head})" for row in rows.itertuples())
            text += (
                f" Greedy group among the {rows['candidates'].iloc[0]} strongest heads of "
                f"{options['model_labels'][model]}, {ablation}: {heads}, {rows['ships_degrees'].iloc[-1]:.2f} degrees."
            )
    return text


def _caption(data: pd.DataFrame, options: Options, sources: Documents, silent: Sequence[str]) -> str:
    labels = options["model_labels"]
    drawn = data.drop_duplicates("model").set_index("model")["prompts"]
    prompts = told({model: f"{drawn[model]} prompts" for model in options["models"]}, labels)
    parts = [
        "Share of answers that hold a refusal phrase, against the number of heads ablated together: the strongest by "
        f"Generalized Ships ({option_of(sources, options, lambda d: 'rank {rank}'.format(**d['options']))}) and random "
        f"others ({option_of(sources, options, lambda d: '{draws} draws'.format(**d['options']))}, mean). "
        f"Greedy answers of {option_of(sources, options, lambda d: str(d['options']['new_tokens']))} tokens to "
        f"{prompts} of {options['dataset_label']}, template "
        f"{option_of(sources, options, lambda d: repr(d['options']['template']))}. "
        f"Bands: {option_of(sources, options, lambda d: percent(d['metric_options']['confidence']))} Wilson "
        "intervals over prompts. "
        f"{option_of(sources, options, lambda d: str(len(d['phrases'])))} phrases, docs/safety_heads.md."
    ]
    if (data["selection"] == "own").any():
        parts.append("Heads of each prompt: the strongest by Ships of that prompt alone, KL(clean || ablated).")
    for model in options["models"]:
        rows = _with_all_heads(data[data["model"] == model], options)
        if model in silent:
            parts.append(
                f"{options['model_labels'][model]} refuses none of the prompts with all heads in place, so this figure "
                "cannot show a loss of refusals for it."
            )
        elif len(rows):
            parts.append(
                f"{labels[model]} refuses {rows['refused'].iloc[0]} of {rows['prompts'].iloc[0]} "
                "prompts with all heads in place."
            )
    return " ".join(parts)
