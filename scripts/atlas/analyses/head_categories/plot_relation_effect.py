"""What each relation loses without the heads that implement it, without random heads, and what other relations lose.

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.2 (there a table of accuracies).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from atlas.analyses.head_categories.caption_words import relation_prompts
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import by_model, option_of
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

# selection -> colour, marker, place within a relation's row, words
_STYLES = {
    "relation": (style.VERMILION, "o", -0.22, "this relation, without its heads"),
    "random": (style.BLUE, "s", 0.0, "this relation, without random heads of the same layers"),
    "other": (style.GREY, "D", 0.22, "other relations, without this one's heads"),
}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table relation_effect: one panel per model, one row per relation that has heads."""
    style.begin()
    effect = tables["relation_effect"]
    data = effect[(effect["dataset"] == options["dataset"]) & effect["model"].isin(options["models"])]
    models = options["models"]
    shown = {model: _rows(data[data["model"] == model], str(options["heads"])) for model in models}
    tall = [max(2, rows["relation"].nunique()) for rows in shown.values()]
    figure, grid = plt.subplots(
        len(models), 1, figsize=(options["width"], 0.9 * len(models) + 0.24 * sum(tall)), squeeze=False,
        layout="constrained", sharex=True, height_ratios=tall,
    )  # fmt: skip
    documents = by_model(sources["relation_effect"])
    least = {model: float(documents[model]["options"]["minimum_accuracy"]) for model in models}
    for axes, model in zip(grid[:, 0], models, strict=True):
        _panel(axes, shown[model], least[model])
        axes.set_title(style.title(options["title"], options["model_labels"][model]))
        axes.label_outer()
        for setter, chosen in ((axes.set_xlim, options["xlim"]), (axes.set_xticks, options["xticks"])):
            if (value := style.option(chosen, model)) is not None:
                setter(value)
    handles = [
        plt.Line2D([], [], ls="", marker=marker, ms=4, color=colour, label=label)
        for colour, marker, _, label in _STYLES.values()
    ]
    legend_outside(figure, handles, [label for *_, label in _STYLES.values()], ncols=1)
    fit(figure)
    return figure, _caption(data, shown, options, sources["relation_effect"], least)


def _rows(data: pd.DataFrame, heads: str) -> pd.DataFrame:
    """The rows of one set of heads, relations by category, those that are completed most often first."""
    rows = data[data["heads_set"] == heads]
    base = data[data["selection"] == "none"].set_index("relation")["accuracy"]
    return rows.assign(base=rows["relation"].map(base)).sort_values(
        ["category", "base", "relation"], ascending=[True, False, True], kind="stable"
    )


def _panel(axes: Axes, rows: pd.DataFrame, least: float) -> None:
    relations = list(dict.fromkeys(rows["relation"]))
    labels = []
    for place, relation in enumerate(relations):
        own = rows[rows["relation"] == relation].set_index("selection")
        few = own["base"].iloc[0] < least
        for selection, (colour, marker, shift, _) in _STYLES.items():
            if selection in own.index:
                row = own.loc[selection]
                error = np.abs([[row["drop"] - row["drop_low"]], [row["drop_high"] - row["drop"]]])
                axes.errorbar(
                    row["drop"], place + shift, xerr=error, fmt=marker, ms=3.5, color=colour, elinewidth=0.9,
                    alpha=0.3 if few else 1,
                )  # fmt: skip
        number = int(own.loc["relation", "heads_ablated"])
        labels.append(f"{style.plain(relation)} ({number} head{'s' * (number > 1)}, {own['base'].iloc[0]:.0%})")
    axes.axvline(0, color="0.6", lw=0.6, zorder=0)
    axes.set_yticks(range(len(relations)), labels)
    axes.set_ylim(max(len(relations), 1) - 0.5, -0.5)
    axes.set_xlabel("Accuracy lost (base minus ablated)")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    if not relations:
        axes.text(0.5, 0.5, "no head implements any relation", transform=axes.transAxes, ha="center", va="center")


def _caption(
    data: pd.DataFrame,
    shown: dict[str, pd.DataFrame],
    options: Options,
    sources: Documents,
    least: dict[str, float],
) -> str:
    metric = option_of(sources, options, lambda d: percent(d["metric_options"]["confidence"]))
    asked = option_of(
        sources, options, lambda d: "at most {prompts} prompts a relation, {draws} draws".format(**d["options"])
    )
    which = (
        option_of(sources, options, lambda d: "all heads with phi above tau = {tau:g}".format(**d["options"]))
        if options["heads"] == "implementing"
        else f"the {options['heads']} heads with the highest phi above 0"
    )
    how = option_of(
        sources,
        options,
        lambda d: "{} at {}".format(
            {"zero": "set to zero", "mean": "set to their mean output"}[d["options"]["ablation"]],
            {"last": "the last token", "all": "all tokens"}[d["options"]["positions"]],
        ),
    )
    relations = list(dict.fromkeys(data["relation"]))
    prompts = option_of(sources, options, lambda d: relation_prompts(d["options"], relations))
    often = option_of(sources, options, lambda d: percent(d["options"]["minimum_accuracy"]))
    parts = [
        "Accuracy that a model loses in completing a relation (the most likely next token is the target) when heads "
        f"are ablated, {how}: {which} (number and accuracy with all heads behind the relation's name), as many random "
        "heads of the same layers, and the relation's heads in other relations that they do not implement. Bars: "
        f"{metric} bootstrap intervals over prompts; {asked}. Pale: relations completed in less than {often}. "
        f"Prompts: {prompts}. Data: {options['dataset_label']}."
    ]
    for model in options["models"]:
        clean = data[(data["model"] == model) & (data["selection"] == "none")]
        lost, clean = sorted(clean.loc[clean["reason"] != "", "relation"]), clean[clean["reason"] == ""]
        without = sorted(set(clean["relation"]) - set(shown[model]["relation"]))
        known = int((clean["accuracy"] >= least[model]).sum())
        parts.append(
            f"{options['model_labels'][model]}: {known} of {len(clean)} relations are completed that often; "
            + (f"no such head for {', '.join(without)}." if without else "each has such heads.")
            + _elsewhere(shown[model])
            + (f" No pair makes a prompt of {', '.join(lost)}." if lost else "")
        )
    return " ".join(parts)


def _elsewhere(rows: pd.DataFrame) -> str:
    """A sentence on the relations whose random heads are not all of the same layers, or that have none."""
    random = rows[rows["selection"] == "random"]
    moved = sorted(random.loc[random["elsewhere"] > 0, "relation"])
    without = sorted({*rows["relation"]} - {*random["relation"]})
    told = (
        f" Too few others in these layers for {', '.join(moved)}: some random heads are of other layers."
        if moved
        else ""
    )
    return told + (f" The model has too few other heads for random ones of {', '.join(without)}." if without else "")
