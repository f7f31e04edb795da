"""Scores of heads on prompts against those of the static map, and their correlation by relation.

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.1 (there a table of correlations).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from atlas.analyses.head_categories.caption_words import examples, one_line
from atlas.analyses.head_categories.colours import COLOURS
from atlas.analyses.head_categories.dynamic_metrics import MEAN
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

# context -> colour, marker, place within a relation's row, words
_STYLES = {
    "without": (style.BLUE, "o", -0.16, "without context"),
    "with": (style.VERMILION, "s", 0.16, "with context"),
}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables relation_dynamic and relation_correlation, a row of three panels per model."""
    style.begin()
    models = options["models"]
    heads, lines = (_chosen(tables[name], options) for name in ("relation_dynamic", "relation_correlation"))
    named = lines[lines["relation"] != MEAN]
    tall = [0.15 * max(8, named.loc[named["model"] == model, "relation"].nunique()) + 0.7 for model in models]
    figure, grid = plt.subplots(
        len(models), 3, figsize=(options["width"], sum(tall)), squeeze=False, layout="constrained",
        width_ratios=[1, 1, 1.1], height_ratios=tall, sharex="col",
    )  # fmt: skip
    top = max(0.05, 1.05 * float(np.nanmax(heads[["static", "dynamic"]].to_numpy(), initial=0)))
    for row, model in zip(grid, models, strict=True):
        own = heads[heads["model"] == model]
        for axes, context in zip(row, _STYLES, strict=False):
            _scatter(axes, own[own["context"] == context], top)
            axes.set_title(_STYLES[context][3])
        title = style.title(options["title"], options["model_labels"][model])
        row[0].set_ylabel(f"{title}\nphi on prompts")
        _correlations(row[2], named[named["model"] == model])
    for axes, words in zip(grid[-1], ("phi by the map", "phi by the map", "Correlation over heads"), strict=True):
        axes.set_xlabel(words)
    handles = [
        plt.Line2D([], [], ls="", marker="o", ms=4, color=COLOURS[name], label=name)
        for name in COLOURS
        if name in set(heads["category"])
    ]
    handles += [
        plt.Line2D([], [], marker=marker, ms=4, lw=0.9, color=colour, label=words)
        for colour, marker, _, words in _STYLES.values()
    ]
    legend_outside(figure, handles, [str(handle.get_label()) for handle in handles], ncols=3)
    fit(figure)
    blank = blank_layers(heads, "dynamic", options)
    return figure, " ".join([_caption(lines, options, sources["relation_correlation"]), *blank])


def _chosen(table: pd.DataFrame, options: Options) -> pd.DataFrame:
    keep = (table["dataset"] == options["dataset"]) & table["model"].isin(options["models"])
    return table[keep & (table["sign"] == options["sign"])]


def _scatter(axes: Axes, rows: pd.DataFrame, top: float) -> None:
    """A mark for every head and relation."""
    axes.plot([0, top], [0, top], color="0.6", lw=0.6, zorder=0)
    for category, part in rows.groupby("category", sort=True):
        axes.plot(
            part["static"], part["dynamic"], ls="", marker="o", ms=3, mew=0, alpha=0.5, color=COLOURS[str(category)],
            clip_on=False,
        )  # fmt: skip
    axes.set(xlim=(0, top), ylim=(0, top))


def _correlations(axes: Axes, rows: pd.DataFrame) -> None:
    """A line for every relation, by category; those without a correlation keep their line empty."""
    first = rows[rows["context"] == "without"].sort_values(
        ["category", "correlation", "relation"], ascending=[True, False, True], na_position="last"
    )
    relations = first["relation"].tolist()
    for context, (colour, marker, shift, _) in _STYLES.items():
        own = rows[rows["context"] == context].set_index("relation").reindex(relations)
        place, known = np.arange(len(own)) + shift, own["correlation"].notna().to_numpy()
        value, low, high = (own[name].to_numpy(float)[known] for name in ("correlation", "low", "high"))
        error = np.nan_to_num([value - low, high - value])
        axes.errorbar(value, place[known], xerr=error, fmt=marker, ms=3, color=colour, elinewidth=0.9)
    axes.axvline(0, color="0.6", lw=0.6, zorder=0)
    axes.set_yticks(range(len(relations)), [style.plain(name) for name in relations])
    axes.set(ylim=(max(len(relations), 1) - 0.5, -0.5), xlim=(-0.3, 1.03))
    axes.tick_params(axis="y", labelsize="x-small")
    if rows["correlation"].isna().all():
        axes.text(0.5, 0.5, "no correlation", transform=axes.transAxes, ha="center", va="center")


def _asked(asked: Mapping[str, Any]) -> str:
    """How many pairs there are at most, and the prompts that each stands in."""
    templates = [one_line(template) for template in asked["templates"]]
    number = "1 prompt" if len(templates) == 1 else f"{len(templates)} prompts each"
    told_of = f"{' / '.join(templates)}{examples(asked, templates)}"
    return f"at most {asked['pairs']} pairs of a relation in {number} ({told_of})"


def _interval(row: pd.Series) -> str:
    return "(no interval)" if np.isnan(row["low"]) else f"[{row['low']:.2f}, {row['high']:.2f}]"


def _caption(lines: pd.DataFrame, options: Options, sources: Documents) -> str:
    labels = options["model_labels"]
    extreme = {"direct": "largest", "suppression": "smallest"}[options["sign"]]
    asked = option_of(sources, options, lambda document: _asked(document["options"]))
    k = option_of(sources, options, lambda document: f"k = {document['metric_options']['k']['default']}")
    tau = option_of(sources, options, lambda d: f"tau = {d['metric_options']['tau']:g}")
    confidence = option_of(sources, options, lambda d: percent(d["metric_options"]["confidence"]))
    parts = [
        f"phi of every head and relation (share of targets among the k {extreme} logits, {k} unless the relation has "
        "its own) by the map of its weights, and by what it writes at the last token of prompts that hold the source: "
        "with context, as it attends; without, as if it saw the source token alone. "
        f"Of {asked}; both scores are of the same pairs. Right: Pearson's correlation over all heads, with "
        f"{confidence} jackknife intervals over pairs; none where all heads score the same. "
        f"Data: {options['dataset_label']}."
    ]
    for model in options["models"]:
        means = lines[(lines["model"] == model) & (lines["relation"] == MEAN)].set_index("context")
        if not means["relations"].max():
            parts.append(f"{labels[model]}: no head implements a relation ({tau}).")
            continue
        told_of = " and ".join(
            f"{row['correlation']:.2f} {_interval(row)} {words}"
            for context, (*_, words) in _STYLES.items()
            for row in [means.loc[context]]
        )
        first = means.loc["without"]
        parts.append(
            f"{labels[model]}: mean correlation {told_of}, over the {first['relations']} relations that some head "
            f"implements ({tau}); of these {first['implementing']} heads {first['confirmed']} score above tau without "
            f"context and {means.loc['with', 'confirmed']} with."
        )
    return " ".join(parts)
