"""Judged answers by what stands before the question: score by depth (upper row), forward discrepancy (lower row).

Source: Ko et al. 2024, arXiv 2406.19502, whose models answer without and with what a question builds on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from atlas.errors import AtlasError
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.captions import by_model, option_of, told
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Document, Documents, Drawn, Options, Sources, Tables

_PROMPTS = {
    "zero_shot": ("question alone", style.BLUE, "o"),
    "gold": ("behind gold answers", style.ORANGE, "s"),
    "predicted": ("behind own answers", style.GREEN, "^"),
}
_ASKED = {
    "zero_shot": "to the question alone",
    "gold": "behind the questions that it builds on with their gold answers",
    "predicted": "behind the questions that it builds on with the model's own answers",
}
_LEVELS = ("D1-D2", "D2-D3", "all")
_COLUMNS = 3
_STEP = 0.18  # between the prompts at one place of the axis


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables depth_accuracy and discrepancy."""
    style.begin()
    models = options["models"]
    if not models:
        return _nothing(options)
    scores, gaps = (_chosen(tables[name], options) for name in ("depth_accuracy", "discrepancy"))
    gaps = gaps[gaps["direction"] == "forward"]
    columns = min(len(models), _COLUMNS)
    lines = -(-len(models) // columns)
    height = options["width"] / max(columns, 2) * 1.5 * lines
    figure, grid = plt.subplots(
        2 * lines, columns, figsize=(options["width"], height), squeeze=False, layout="constrained"
    )
    upper, lower = ([*rows.flat] for rows in (grid[0::2], grid[1::2]))
    for axes in (*upper[len(models) :], *lower[len(models) :]):
        axes.set_axis_off()
    for row in (upper, lower):
        for axes in row[1:]:
            axes.sharey(row[0])
    for model, above, below in zip(models, upper, lower, strict=False):
        own = scores[scores["model"] == model]
        if own.empty:
            raise AtlasError(
                f"figures.*: the table depth_accuracy has no rows of {model} for {options['dataset']}; run it again."
            )
        depths = sorted(own["depth"].unique())
        _points(above, own, "depth", depths, "score")
        above.set_xticks(range(len(depths)), [f"Depth {depth}" for depth in depths])
        above.set_title(style.title(options["title"], options["model_labels"][model]))
        style.apply_axes(above, options, model)
        _points(below, gaps[gaps["model"] == model], "depths", list(_LEVELS), "value")
        below.set_xticks(range(len(_LEVELS)), _LEVELS)
    if gaps["value"].isna().all():  # nothing that the shared axis could measure
        grid[1, 0].set_yticks([])
    for above, below in zip(grid[0::2, 0], grid[1::2, 0], strict=True):
        above.set_ylabel("Judged score")
        below.set_ylabel("Forward discrepancy")
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    fit(figure)
    return figure, _caption(scores, gaps, options, sources["depth_accuracy"])


def _nothing(options: Options) -> Drawn:
    """What is drawn where no model answers the questions of the data set."""
    said = (
        f"No model answers the questions of {options['dataset_label']} (analyses.mink.predictions, answered_datasets)."
    )
    figure, axes = plt.subplots(figsize=(options["width"], 0.5), layout="constrained")
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no answers", transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.25")
    return figure, said


def _chosen(frame: pd.DataFrame, options: Options) -> pd.DataFrame:
    return frame[frame["dataset"] == options["dataset"]]


def _points(axes: Axes, frame: pd.DataFrame, column: str, places: list, value: str) -> None:
    """A point with its interval for each prompt at each place; a sentence where there is none."""
    there = [prompt for prompt in _PROMPTS if (frame["prompt"] == prompt).any()]
    for number, prompt in enumerate(there):
        name, colour, mark = _PROMPTS[prompt]
        part = frame[frame["prompt"] == prompt].set_index(column).loc[places]
        x = [place + _STEP * (number - (len(there) - 1) / 2) for place in range(len(places))]
        centre = part[value].to_numpy()
        bars = [centre - part["low"].to_numpy(), part["high"].to_numpy() - centre]
        axes.errorbar(x, centre, bars, color=colour, marker=mark, ls="", ms=4, lw=1, capsize=2, label=name)
    axes.set_xlim(-0.5, len(places) - 0.5)
    if frame[value].isna().all():
        axes.text(
            0.5, 0.5, "no question counts", transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.25"
        )


def _caption(scores: pd.DataFrame, gaps: pd.DataFrame, options: Options, documents: Documents) -> str:
    labels, models = options["model_labels"], options["models"]
    one = next(iter(documents.values()))
    threshold, by = gaps["threshold"], gaps["by"].iloc[0]
    limits = {model: f"{threshold[gaps['model'] == model].iloc[0]:g}" for model in models}
    judges = {model: scores.loc[scores["model"] == model, "judge"].iloc[0] for model in models}
    parts = [
        f"{_asked(scores)} Upper row: mean judged score, from 1 to 5, by depth of question. Lower row: forward "
        "discrepancy, how far a question "
        f"falls below the mean of what it builds on where that reaches {told(limits, labels)}, over 4; by {by}. Bars: "
        f"{percent(one['metric_options']['confidence'])} bootstrap intervals. Judge: {told(judges, labels)}. Data: "
        f"{options['dataset_label']}.",
        *_answered(documents, options),
    ]
    for model in models:
        own = scores[scores["model"] == model]
        counts = "; ".join(
            f"{_PROMPTS[prompt][0]}: "
            + ", ".join(f"{row.questions} at depth {row.depth}" for row in part.sort_values("depth").itertuples())
            for prompt, part in own.groupby("prompt", sort=False)
        )
        base = own["answers_from"].iloc[0]
        note = "" if base == model else " A control's answers and scores are its base's."
        parts.append(f"{labels[model]}: {counts}{_left_out(by_model(documents)[model])}.{note}")
    return " ".join(parts)


def _asked(scores: pd.DataFrame) -> str:
    """What stands before the questions."""
    words = [words for prompt, words in _ASKED.items() if (scores["prompt"] == prompt).any()]
    more = " Questions of depth 1 build on nothing: one answer counts for all." if len(words) > 1 else ""
    return f"Answers {', and '.join(words)}.{more}"


def _answered(documents: Documents, options: Options) -> Iterator[str]:
    """How questions were put and how long answers may be; nothing where the scores came with the data set."""
    said = {file: document for file, document in documents.items() if "predictions" in document.get("options", {})}
    if said:
        yield f"Greedy answers, {option_of(said, options, _framing)}."


def _framing(document: Document) -> str:
    given = document["options"]
    *some, last = given["predictions"]["max_new_tokens"]
    system = "" if given["system"] is None else f", system message {given['system']!r}"
    return (
        f"template {given['template']}{system}, of at most {', '.join(map(str, some))} and {last} tokens at depth 1, 2 "
        "and 3"
    )


def _left_out(document: Document) -> str:
    """How many questions could not be asked behind others, and why."""
    lost = document.get("context", {}).get("dropped", {})
    told_of = [
        f"{count} {reason} ({_PROMPTS[prompt][0]})"
        for prompt, reasons in lost.items()
        for reason, count in reasons.items()
        if count
    ]
    return f" ({', '.join(told_of)} left out)" if told_of else ""
