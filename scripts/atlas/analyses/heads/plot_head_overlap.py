"""Which measures of heads agree: rank correlations and overlaps of top sets, all models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from atlas.analyses.heads.measures import analysis_of, measures
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Drawn, Options, Sources, Tables

    Look = Mapping[str, Any]

_ROW = 0.2  # inches of a pair of measures
_TOGETHER = 3  # models whose marks fit into one
_COLOURS = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.BROWN, style.CYAN)
_MARKERS = ("o", "s", "^", "D", "v", "P")


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table head_overlap: one line per pair of measures, one mark per model.

    Columns: rho over all heads, rho within layers, heads in both top sets; the grey bar is what chance gives. A measure
    that no model has is left out.
    """
    style.begin()
    overlap, models = _known(tables["head_overlap"]), options["models"]
    shown = overlap[
        overlap["model"].isin(models)
        & overlap["metric_a"].isin(options["metrics"])
        & overlap["metric_b"].isin(options["metrics"])
    ]
    pairs = list(dict.fromkeys(zip(shown["metric_a"], shown["metric_b"], strict=True)))
    figure, grid = plt.subplots(
        1,
        3,
        figsize=(options["width"], 1.1 + _ROW * max(len(pairs), 3) * max(1, len(models) / _TOGETHER)),
        sharey=True,
        layout="constrained",
        width_ratios=[1, 1, 0.8],
    )
    for index, model in enumerate(models):
        rows = shown[shown["model"] == model].set_index(["metric_a", "metric_b"]).reindex(pairs)
        y = [line + 0.24 * (2 * (index + 0.5) / len(models) - 1) for line in range(len(pairs))]
        look = {"color": _COLOURS[index % len(_COLOURS)], "marker": _MARKERS[index % len(_MARKERS)]}
        alpha = options["alpha"]
        _intervals(grid[0], rows["rho"], rows["low"], rows["high"], y, rows["q"] < alpha, look)
        within = rows["rho_within"], rows["within_low"], rows["within_high"]
        _intervals(grid[1], *within, y, rows["within_q"] < alpha, look)
        chance = rows[["chance_low", "chance_high"]].astype(float)
        grid[2].barh(
            y,
            chance["chance_high"] - chance["chance_low"] + 0.5,
            left=chance["chance_low"] - 0.25,
            height=0.4 / len(models),
            color="0.86",
            lw=0,
        )
        _marks(grid[2], rows["overlap"].astype(float), y, rows["overlap_q"] < alpha, look)
    _axes(grid, pairs, options, shown)
    _legend(figure, models, options)
    fit(figure)
    return figure, _caption(shown, options)


def _known(overlap: pd.DataFrame) -> pd.DataFrame:
    """Rows whose measures both occur in some model."""
    seen = overlap[overlap["heads"] > 0]
    known = {*seen["metric_a"], *seen["metric_b"]}
    return overlap[overlap["metric_a"].isin(known) & overlap["metric_b"].isin(known)]


def _intervals(
    axes: Axes,
    values: pd.Series,
    low: pd.Series,
    high: pd.Series,
    y: Sequence[float],
    significant: pd.Series,
    look: Look,
) -> None:
    axes.hlines(y, low, high, color=look["color"], lw=1)
    _marks(axes, values, y, significant, look)


def _marks(axes: Axes, values: pd.Series, y: Sequence[float], significant: pd.Series, look: Look) -> None:
    """Filled where significant, hollow where not."""
    fill = [look["color"] if found else "white" for found in significant.fillna(False)]
    axes.scatter(values, y, c=fill, edgecolors=[look["color"]], marker=look["marker"], s=13, lw=0.8, zorder=3)


def _axes(grid: Sequence[Axes], pairs: Sequence[tuple[str, str]], options: Options, shown: pd.DataFrame) -> None:
    told = measures(options["datasets"])
    names = [f"{told[a].label}  ×  {told[b].label}" for a, b in pairs]
    grid[0].set_yticks(range(len(pairs)), names)
    grid[0].set_ylim(len(pairs) - 0.5, -0.5)
    for axes in grid[:2]:
        axes.axvline(0, color="0.4", lw=0.6)
        axes.set_xlim(-1.03, 1.03)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−.5", "0", ".5", "1"])
    grid[0].set(title="all heads", xlabel="Spearman's ρ")
    grid[1].set(title="within layers", xlabel="Spearman's ρ")
    top = shown["top"].iloc[0] if len(shown) else 0
    grid[2].set(title=f"heads in both top {top}", xlabel="heads", xlim=(-0.8, top + 0.8))
    for axes in grid:
        axes.tick_params(axis="y", length=0)
        for line in range(0, len(pairs), 2):
            axes.axhspan(line - 0.5, line + 0.5, color="0.965", lw=0, zorder=0)


def _legend(figure: Figure, models: Sequence[str], options: Options) -> None:
    handles: list[Artist] = [
        Line2D([], [], ls="", marker=_MARKERS[index % len(_MARKERS)], color=_COLOURS[index % len(_COLOURS)], ms=4)
        for index in range(len(models))
    ]
    labels = [style.plain(options["model_labels"][model]) for model in models]
    hollow = Line2D([], [], ls="", marker="o", mfc="white", mec="0.3", ms=4)
    handles += [hollow, Patch(color="0.86")]
    labels += [f"hollow: q ≥ {options['alpha']:g}", f"{percent(options['confidence'])} of chance"]
    legend_outside(figure, handles, labels, ncols=len(handles), handletextpad=0.3)


def _found(rows: pd.DataFrame, value: str, q: str, options: Options) -> str:
    """How many pairs are significant, of those that have a value in this model."""
    return f"{(rows[q] < options['alpha']).sum()} of {rows[value].notna().sum()}"


def _caption(shown: pd.DataFrame, options: Options) -> str:
    owner = analysis_of(options["datasets"])
    analyses = dict.fromkeys(owner[metric] for metric in dict.fromkeys([*shown["metric_a"], *shown["metric_b"]]))
    data = ", ".join(f"{name}: {options['dataset_labels'][options['datasets'][name]]}" for name in analyses)
    parts = [
        "Whether measures of attention heads point at the same heads. Left: Spearman's rho over all heads of a model, "
        f"with {percent(options['confidence'])} bootstrap intervals over heads ({options['bootstrap']} draws). Middle: "
        "the same of ranks within each layer, pooled, intervals over layers: what is left when both merely change with "
        f"depth. Right: heads among the top {shown['top'].iloc[0] if len(shown) else 0} of both (fewer where values "
        f"tie); grey: the central {percent(options['confidence'])} of chance (hypergeometric). Filled marks: "
        f"q < {options['alpha']:g} (Benjamini-Hochberg over all pairs of a model). No mark: a measure is constant or "
        "missing there. 'meaningless drop' is minus the effect, so large means that attention falls. "
        f"Data: {data}."
    ]
    for model in options["models"]:
        rows = shown[shown["model"] == model]
        parts.append(
            f"{options['model_labels'][model]}: {rows['heads'].max() if len(rows) else 0} heads, "
            f"{_found(rows, 'rho', 'q', options)} pairs significant over all heads, "
            f"{_found(rows, 'rho_within', 'within_q', options)} within layers."
        )
    return " ".join(parts)
