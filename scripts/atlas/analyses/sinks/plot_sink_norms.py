"""Norms of states, keys and values at the first position against those at all others, layer by layer.

Sources: Gu et al., ICLR 2025, arXiv 2410.10781; Sun et al., COLM 2024, arXiv 2402.17762 (massive activations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter

from atlas.analyses.sinks.inputs import INPUTS
from atlas.errors import AtlasError
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of, told
from atlas.plots.panels import panels_of_models

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

# The axis has at least these ratios, so that differences of a few percent look like it.
_LEAST = (0.09, 11.0)
# What the table calls it -> (colour, dashes, label).
STYLES = {
    "state": (style.BLUE, "-", "state"),
    "entry": (style.ORANGE, "--", "largest entry of the state"),
    "key": (style.GREEN, "-.", "key"),
    "value": (style.VERMILION, ":", "value"),
}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table sink_norms: one panel per model."""
    style.begin()
    models, norms = options["models"], tables["sink_norms"]
    kind = options["input"] or next(kind for kind in INPUTS if (norms["input"] == kind).any())
    norms = norms[norms["input"] == kind]
    if missing := [model for model in models if not (norms["model"] == model).any()]:
        raise AtlasError(
            f"figure input: {kind} is not among the inputs of {missing[0]} (analyses.sinks.inputs); add it."
        )
    figure = panels_of_models(norms, options, _panel)
    blank = blank_layers(norms[norms["of"] == "key"], "ratio", options)
    return figure, " ".join([_caption(norms, kind, options, sources["sink_norms"]), *blank])


def _panel(axes: Axes, norms: pd.DataFrame) -> None:
    axes.axhline(1, color=style.GREY, lw=0.8)
    for of, (colour, dashes, label) in STYLES.items():
        # nulls stay in: they interrupt the line where a layer has no attention
        part = norms[norms["of"] == of].sort_values("layer")
        axes.fill_between(part["layer"], part["ratio_low"], part["ratio_high"], color=colour, alpha=0.25, lw=0)
        axes.plot(part["layer"], part["ratio"], color=colour, ls=dashes, label=label, marker=".", ms=3)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, _LEAST[0]), max(high, _LEAST[1]))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="Layer", ylabel="At the first position / at others")


def _caption(norms: pd.DataFrame, kind: str, options: Options, sources: Documents) -> str:
    labels = options["model_labels"]
    first = {model: norms[norms["model"] == model].iloc[0] for model in options["models"]}
    number = told(
        {model: f"{row['sequences']} sequences of {row['length']} tokens" for model, row in first.items()}, labels
    )
    begins = told({model: "first" if row["bos"] else "not added" for model, row in first.items()}, labels)
    confidence = option_of(sources, options, lambda document: percent(document["metric_options"]["confidence"]))
    data = f" ({options['dataset_label']})" if kind == "natural" else ""
    return (
        "Massive activations: norm at the first position over the mean norm at all others, of the hidden state behind "
        "each layer, of its largest absolute entry, and of the layer's keys (behind their norm and rotation, if any) "
        f"and values, the mean over their heads; with {confidence} bootstrap intervals over sequences. Input: "
        f"{INPUTS[kind]}{data}. Models: {', '.join(labels[model] for model in options['models'])}. n = {number}; "
        f"beginning-of-sequence token {begins}."
    )
