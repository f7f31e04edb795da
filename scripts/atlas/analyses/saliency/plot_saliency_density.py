"""Densities of the saliency of question-to-answer flow, one panel per model.

Source: Luo et al. 2026, arXiv 2601.07422, Fig. 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from atlas.analyses.saliency import plot_common as common
from atlas.plots import style
from atlas.plots.captions import option_of
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_COLUMNS = 3


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables saliency, saliency_mixture and probe_auroc."""
    style.begin()
    part = common.rows(tables["saliency"], options, "saliency")
    part = part[part["flow"].isin(common.FLOWS)]
    models = options["models"]
    columns = min(len(models), _COLUMNS)
    lines = -(-len(models) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(options["width"], options["width"] * 0.78 * lines / max(columns, 2)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes in grid.flat[len(models) :]:
        axes.set_axis_off()
    ends = {}
    for axes, model in zip(grid.flat, models, strict=False):
        ends[model] = _panel(axes, part[part["model"] == model], options, model)
        axes.set_title(style.title(options["title"], options["model_labels"][model]))
    handles = [
        plt.Rectangle((0, 0), 1, 1, facecolor=(*colour, 0.45), edgecolor=colour, label=common.symbol(flow, label))
        for dataset, label in options["dataset_labels"].items()
        for flow in common.FLOWS
        for colour in [common.colour(options, dataset, flow, options["colours"])]
    ]
    legend_outside(figure, handles, [str(handle.get_label()) for handle in handles], ncols=min(4, len(handles)))
    fit(figure)
    return figure, _caption(part, tables, options, sources["saliency"], ends)


def _panel(axes: Axes, part: pd.DataFrame, options: Options, model: str) -> float:
    """Draw one model's curves; returns where the x axis ends."""
    part = part.copy()
    # Each data set has the same share of the area, whatever its size.
    part["weight"] /= part.groupby(["dataset", "flow"])["weight"].transform("sum")
    end = _quantile(part["saliency"].to_numpy(), part["weight"].to_numpy(), options["quantile"])
    limits = style.option(options["xlim"], model) or [0, end or 1]
    part["curve"] = part["dataset"] + " " + part["flow"]
    spread = part.groupby("curve")["saliency"].transform("nunique") > 1  # no density of a single value
    own = options["colours"]
    order = {f"{d} {f}": common.colour(options, d, f, own) for d in options["datasets"] for f in common.FLOWS}
    if spread.any():
        sns.kdeplot(
            data=part[spread], x="saliency", hue="curve", hue_order=list(order), palette=order, weights="weight",
            common_norm=options["common_norm"], clip=(0, limits[1]), gridsize=500, fill=True, alpha=0.45,
            linewidth=1.1, legend=False, warn_singular=False, ax=axes,
        )  # fmt: skip
    else:  # nothing that an axis of densities could measure
        axes.set(yticks=[])
        axes.text(0.5, 0.5, "no two different values", transform=axes.transAxes, ha="center", fontsize=7, color="0.25")
    axes.set(xlabel="Saliency Score", ylabel="Density" if spread.any() else "", xlim=limits)
    style.apply_axes(axes, options, model)
    return axes.get_xlim()[1]


def _quantile(values: Float[np.ndarray, " samples"], weights: Float[np.ndarray, " samples"], share: float) -> float:
    """The smallest value that at least `share` of the weight does not exceed."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(total, share * total[-1]), len(values) - 1)])


def _caption(
    part: pd.DataFrame, tables: Tables, options: Options, documents: Documents, ends: Mapping[str, float]
) -> str:
    area = "share one area in equal parts" if options["common_norm"] else "have an area of 1 each"
    layers = option_of(documents, options, lambda document: document["metric_options"]["layers"])
    parts = [f"{common.measure(part, options)}; {layers} over the layers that the loss reaches."]
    at_quantile = {model: f"{end:.2g}" for model, end in ends.items() if style.option(options["xlim"], model) is None}
    parts.append(
        f"Gaussian kernel densities (Scott's bandwidth), cut at 0 without reflection; the curves of a panel {area}. "
        "Axes are per panel"
        + (
            f", and x ends at the {100 * options['quantile']:g} % quantile: "
            + ", ".join(f"{end} ({options['model_labels'][model]})" for model, end in at_quantile.items())
            if at_quantile
            else ""
        )
        + "."
    )
    parts += _without_curve(part, options)
    parts += common.samples(part, options)
    if options["loss"] != "answer_nll":
        parts += _probes(tables["probe_auroc"], options)
    parts += _groups(tables["saliency_mixture"], options)
    controls = [m for m in options["models"] if any(f"/{m}/" in file and "control" in str(doc.get("model", ""))
                for file, doc in documents.items())]  # fmt: skip
    if controls:
        parts.append("A control reads its base's answers, labels and token sets, under a probe of its own.")
    return " ".join(parts)


def _without_curve(part: pd.DataFrame, options: Options) -> Iterator[str]:
    """Curves that a panel lacks because their answers have one value."""
    values = part.groupby(["model", "dataset", "flow"])["saliency"].nunique()
    few = [
        f"{options['model_labels'][model]}, {options['dataset_labels'][dataset]}, {flow}"
        for model, dataset, flow in values.index[values < 2]
    ]
    if few:
        yield f"No curve, because there are no two different values: {'; '.join(few)}."


def _probes(auroc: pd.DataFrame, options: Options) -> Iterator[str]:
    for model in options["models"]:
        for dataset, label in options["dataset_labels"].items():
            one = auroc[(auroc["model"] == model) & (auroc["dataset"] == dataset) & auroc["chosen"]]
            for row in one.itertuples():
                yield (
                    f"Probe of {options['model_labels'][model]} on {label}: hidden state {row.layer}, AUROC "
                    f"{row.auroc:.2f}, nested {row.nested_auroc:.2f} ({row.nested_low:.2f} to {row.nested_high:.2f})."
                )


def _groups(mixture: pd.DataFrame, options: Options) -> Iterator[str]:
    chosen = mixture[(mixture["loss"] == options["loss"]) & (mixture["flow"] == "question_to_answer")]
    texts = []
    for model in options["models"]:
        for dataset, label in options["dataset_labels"].items():
            one = chosen[(chosen["model"] == model) & (chosen["dataset"] == dataset) & chosen["separation"].notna()]
            texts += [
                f"{row.separation:.1f} [{row.separation_low:.1f}, {row.separation_high:.1f}], dip p = {row.dip_p:.2f} "
                f"({options['model_labels'][model]}, {label}, {row.group}{_left_out(row)})"
                for row in one.itertuples()
            ]
    if texts:
        yield (
            "Distance of two groups of log saliency to E_A (Ashman's D of a two-component mixture, above 2 they stand "
            f"apart; Hartigan's dip test of one mode): {'; '.join(texts)}."
        )


def _left_out(row: Any) -> str:
    """What the caption says of bootstrap draws that are not in an interval; nothing if all are."""
    lost = row.draws - row.draws_used
    return f", {lost} of {row.draws} bootstrap draws left out: no fit" if lost else ""
