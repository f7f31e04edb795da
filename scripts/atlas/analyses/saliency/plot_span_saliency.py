"""Saliency of flows between marked parts of prompts by layer, beside random tokens in their place, a panel per model.

Source: Wang et al. 2023, arXiv 2305.14160, Fig. 3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from atlas.analyses.saliency.marked_prompts import MARKED, RANDOM
from atlas.analyses.saliency.plot_common import HEADS
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import blank_layers, by_model, option_of, told
from atlas.plots.labels import plain
from atlas.plots.panels import panels_of_models

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.BROWN, style.PINK, style.CYAN)
_SYMBOL = re.compile(r"([A-Za-z])_(\w+)")
_ALWAYS = {"text": "all tokens of the prompt", "predicting": "the positions that predict the answer"}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table span_saliency."""
    style.begin()
    frame = tables["span_saliency"]
    frame = frame[frame["dataset"] == options["dataset"]]
    drawn = options["flows"] or list(dict.fromkeys(frame["flow"]))
    figure = panels_of_models(frame, options, partial(_panel, drawn, options["scale"]))
    blank = blank_layers(frame, "saliency", options)
    return figure, " ".join([_caption(frame, drawn, options, sources["span_saliency"]), *blank])


def _panel(drawn: Sequence[str], scale: str, axes: Axes, part: pd.DataFrame) -> None:
    marked = bool(part["saliency"].isna().any()) or part["layer"].nunique() == 1
    shown = part.loc[part["flow"].isin(drawn) & (part["saliency"] > 0), "saliency"]
    least = 0.5 * shown.min() if scale == "log" and len(shown) else 0.0
    for place, flow in enumerate(drawn):
        colour = _COLOURS[place % len(_COLOURS)]
        for source, dashes, mark in ((MARKED, "-", "o"), (RANDOM, "--", "x")):
            one = part[(part["flow"] == flow) & (part["source"] == source)].dropna(subset="saliency")
            if scale == "log":
                one = one[one["saliency"] > 0]
            if source == MARKED:
                low = np.maximum(one["low"], least)
                axes.fill_between(one["layer"], low, one["high"], color=colour, alpha=0.25, lw=0)
            axes.plot(
                one["layer"], one["saliency"], color=colour, ls=dashes, marker=mark if marked else "", ms=3,
                label=_symbol(flow) if source == MARKED else None,
            )  # fmt: skip
    axes.plot([], [], color="0.3", ls="--", label="from random tokens")
    axes.set_yscale(scale if len(shown) else "linear")
    axes.set_ylim(bottom=least)
    axes.tick_params(which="minor", length=1.5, width=0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="Layer", ylabel="Saliency per pair" if (part["reduction"] == "mean").all() else "Saliency")


def _symbol(flow: str) -> str:
    """`S_wp` as a letter with an index; any other name as it stands."""
    found = _SYMBOL.fullmatch(flow)
    return rf"${found[1]}_{{{found[2]}}}$" if found else plain(flow)


def _caption(frame: pd.DataFrame, drawn: Sequence[str], options: Options, documents: Documents) -> str:
    labels, models = options["model_labels"], options["models"]
    first = {model: frame[frame["model"] == model].iloc[0] for model in models}
    how = {m: f"{row['reduction']} over pairs of the {HEADS[row['heads']]}" for m, row in first.items()}
    confidence = option_of(documents, options, lambda document: percent(document["metric_options"]["confidence"]))
    meanings = "; ".join(_meaning(frame[frame["flow"] == flow].iloc[0]) for flow in drawn)
    return " ".join(
        [
            "Saliency A x dLoss/dA of the attention from later tokens to earlier ones (Wang et al. 2023), by layer. "
            "Loss: minus the mean log-probability of the answer's tokens behind the prompt. "
            f"Per layer: {told(how, labels)}. Flows: {meanings}.",
            f"Mean over prompts, and {confidence} intervals over prompts; dashed: as many random tokens of the prompt "
            "in place of those of each marked part, none that predicts the answer unless the part has it. Layers count "
            "from 0; axes are per panel"
            f"{', logarithmic, without what is 0' if options['scale'] == 'log' else ''}.",
            f"Data: {options['dataset_label']}.",
            *(_counts(model, frame, drawn, options, documents) for model in models),
        ]
    )


def _meaning(row: pd.Series) -> str:
    if not row["from"]:
        return f"{row['flow']}, all other pairs of tokens"
    ends = [_ALWAYS.get(row[end], f"the tokens marked {row[end]}") for end in ("from", "to")]
    return f"{row['flow']}, from {ends[0]} to {ends[1]}"


def _counts(model: str, frame: pd.DataFrame, drawn: Sequence[str], options: Options, documents: Documents) -> str:
    """How many prompts and pairs a model has, what was left out, and how likely it finds the answers."""
    own = frame[frame["model"] == model].drop_duplicates(["source", "flow"])
    part, drawn_part = (own[own["source"] == source].set_index("flow") for source in (MARKED, RANDOM))
    samples = by_model(documents)[model]["samples"]
    left_out = "".join(f", {len(rows)} left out ({reason})" for reason, rows in samples["dropped"].items())
    pairs = []
    for flow in drawn:
        marked, control = part.loc[flow, "prompts"], drawn_part.loc[flow, "prompts"]
        fewer = [f"in {marked}"] if marked < samples["measured"] else []
        fewer += [f"from random tokens in {control}"] if control != marked else []
        pairs.append(f"{flow} {part.loc[flow, 'pairs']:.1f}" + (f" ({', '.join(fewer)})" if fewer else ""))
    return (
        f"{options['model_labels'][model]}: {samples['measured']} prompts{left_out}; pairs in each, on average: "
        f"{', '.join(pairs)}; the answers' mean loss is {part['nll'].iloc[0]:.2f}."
    )
