"""Time and peak memory of every rule of a run, by model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from atlas.plots import style
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Drawn, Options, Sources, Tables

_LOOKS = [
    (style.BLUE, "o"), (style.ORANGE, "s"), (style.GREEN, "^"), (style.VERMILION, "D"), (style.PURPLE, "v"),
    (style.BROWN, "P"), (style.PINK, "X"), (style.CYAN, "<"),
]  # fmt: skip
_ROW = 0.17  # inches


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table costs: one line per rule, grouped by stage; left time, right memory."""
    style.begin()
    costs = tables["costs"]
    costs = costs[costs["model"].isin(["", *options["models"]])]
    rules = list(dict.fromkeys(zip(costs["stage"], costs["rule"], strict=True)))
    height = 0.9 + _ROW * len(rules)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(options["width"], height), sharey=True, layout="constrained", width_ratios=[1.2, 1]
    )
    lines = {rule: number for number, (_, rule) in enumerate(rules)}
    shift = 0.24 / max(len(options["models"]), 1)  # so that equal values of two models are both seen
    for number, (model, (colour, marker), label) in enumerate(_looks(options)):
        part = costs[costs["model"] == model].groupby("rule", as_index=False, sort=False).agg(
            seconds=("seconds", "sum"), memory_mib=("memory_mib", "max")
        )  # fmt: skip
        if part.empty:
            continue
        y = part["rule"].map(lines) + (0 if model == "" else (number - (len(options["models"]) - 1) / 2) * shift)
        look = dict(color=colour, marker=marker, ls="none", ms=4, mew=0)
        left.plot(part["seconds"], y, label=label, **look)
        right.plot(part["memory_mib"], y, **look)
    _stages(left, right, [stage for stage, _ in rules])
    left.set_yticks(range(len(rules)), [rule for _, rule in rules])
    left.set_ylim(len(rules) - 0.4, -0.6)
    left.set(xscale="log", xlabel="Time of all jobs (s)")
    right.set(xlabel="Peak memory of the largest job (MiB)", xlim=(0, 1.06 * costs["memory_mib"].max() if rules else 1))
    if rules:
        handles, labels = left.get_legend_handles_labels()
        legend_outside(figure, handles, labels, ncols=3, above=True, handletextpad=0.2)
    fit(figure)
    return figure, _caption(costs, options)


def _looks(options: Options) -> Iterator[tuple[str, tuple[Any, str], str]]:
    """(model key, look, label) of every model, and of jobs without one."""
    for number, model in enumerate(options["models"]):
        yield model, _LOOKS[number % len(_LOOKS)], style.plain(options["model_labels"][model])
    yield "", (style.GREY, "p"), "no model"


def _stages(left: Axes, right: Axes, stages: Sequence[str]) -> None:
    """A line above each stage's first rule, and its name inside the left panel."""
    for first in (stages.index(stage) for stage in dict.fromkeys(stages)):
        for axes in (left, right) if first else ():
            axes.axhline(first - 0.5, color=style.GREY, lw=0.4)
        right.annotate(
            stages[first], (1, first), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=7, color="0.35", annotation_clip=False,
        )  # fmt: skip


def _caption(costs: pd.DataFrame, options: Options) -> str:
    labels = ", ".join(options["model_labels"][model] for model in options["models"])
    devices = ", ".join(device for device in dict.fromkeys(costs["device"]) if device)
    return (
        "What the run took. Left: wall time, added over all jobs of a rule (shards and data sets). Right: resident "
        f"memory of the largest of them. n = {costs['jobs'].sum()} jobs. Models: {labels}. "
        f"Devices: {devices or 'not recorded'}. This figure measures the machine, so its bytes differ from run to run "
        "and figures/manifest.sha256 leaves it out."
    )
