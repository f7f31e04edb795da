"""Which positions are sinks: the sink rate of every position for natural, random and repeated input.

Source: Gu et al., ICLR 2025, arXiv 2410.10781 (the metric).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import FormatStrFormatter

from atlas.analyses.sinks.inputs import INPUTS, STYLES
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, option_of, told
from atlas.plots.panels import panels_of_models

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

# Percent up to which the axis is linear: the first position has most heads, all others few.
_LINEAR = 1.0


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table sink_profile: one panel per model."""
    style.begin()
    profile = tables["sink_profile"]
    figure = panels_of_models(profile, options, _panel)
    layers = profile[profile["layer"].notna() & (profile["position"] == profile["position"].min())]
    blank = blank_layers(layers, "alpha", options)
    return figure, " ".join([_caption(profile, options, sources["sink_profile"]), *blank])


def _panel(axes: Axes, profile: pd.DataFrame) -> None:
    whole = profile[profile["layer"].isna()]
    for kind, (colour, dashes, label) in STYLES.items():
        part = whole[whole["input"] == kind].sort_values("position")
        if part.empty:
            continue
        axes.fill_between(
            part["position"], 100 * part["rate_low"], 100 * part["rate_high"], color=colour, alpha=0.25, lw=0
        )
        axes.plot(part["position"], 100 * part["rate"], color=colour, ls=dashes, label=label, marker=".", ms=3)
    epsilon = whole["epsilon"].iloc[0]
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.set_ylim(-0.1, 150)
    axes.set_yticks([0, 1, 10, 100])
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.minorticks_off()
    axes.set(xlabel="Position k", ylabel=rf"Sink$_k^{{\epsilon={epsilon:g}}}$ (% of heads)")


def _caption(profile: pd.DataFrame, options: Options, sources: Documents) -> str:
    labels = options["model_labels"]
    first = {model: profile[profile["model"] == model].iloc[0] for model in options["models"]}
    kinds = [kind for kind in INPUTS if (profile["input"] == kind).any()]
    epsilon = told({model: f"{row['epsilon']:g}" for model, row in first.items()}, labels)
    number = told(
        {model: f"{row['sequences']} sequences of {row['length']} tokens" for model, row in first.items()}, labels
    )
    natural = f"Natural text: {options['dataset_label']}. " if "natural" in kinds else ""
    begins = told({model: "first" if row["bos"] else "not added" for model, row in first.items()}, labels)
    confidence = option_of(sources, options, lambda document: percent(document["metric_options"]["confidence"]))
    return (
        "Which positions are attention sinks: share of all heads whose mean attention on position k, over the rows "
        f"from k on, exceeds epsilon = {epsilon}, with {confidence} bootstrap intervals over sequences. The axis is "
        f"linear up to {_LINEAR:g} % and logarithmic above. The last positions have few rows: that of the last token "
        f"is its attention on itself. Input: {', '.join(INPUTS[kind] for kind in kinds)}. "
        f"Models: {', '.join(labels[model] for model in options['models'])}. {natural}n = {number} per kind of input; "
        f"beginning-of-sequence token {begins}. Positions count from 0."
    )
