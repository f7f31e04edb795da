"""Min-K% by depth of question (upper row) and the score gaps of the groups it makes (lower row), one panel per model.

Source: Ko et al. 2024, arXiv 2406.19502, the figure of Min-K% by depth and of score gaps by quantile.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from atlas.errors import AtlasError
from atlas.plots import style
from atlas.plots.captions import by_model, option_of, told
from atlas.plots.fitting import fit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Document, Documents, Drawn, Options, Sources, Tables

_DEPTHS = {1: style.BLUE, 2: style.ORANGE, 3: style.GREEN}
_NO_CURVE = "no density of a single value"
_NO_GAPS = "no predecessors in the data"
_GROUPS = {"25%": style.GREEN, "75%": style.ORANGE}
_COLUMNS = 3
_MEASURES = {"mink": "MIN-K%", "minkpp": "MIN-K%++"}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables mink, mink_graphs, mink_trend and score_gap."""
    style.begin()
    upper, lower = options["models"], options["kde_models"]
    figure, (above, below), columns = _places(options)
    values = _chosen(tables["mink" if options["average"] == "question" else "mink_graphs"], options)
    letters = iter(string.ascii_lowercase)
    _panels(above, upper, letters, options, lambda axes, model: _boxes(axes, values, model, options))
    free = 0.2 if columns < _COLUMNS else 0.36  # of a panel's height, for its legend; narrow panels are low
    gaps = tables["score_gap"]
    gaps = gaps[gaps["dataset"] == options["kde_dataset"]]
    _panels(below, lower, letters, options, lambda axes, model: _gaps(axes, gaps, model, options, free))
    fit(figure)
    return figure, _caption(tables, options, sources)


def _places(options: Options) -> tuple[Figure, list[list[Axes]], int]:
    """(figure, [panels of the upper row, of the lower one], panels side by side at most)."""
    numbers = [len(options["models"]), len(options["kde_models"])]
    columns = min(max(numbers), options["columns"] or _COLUMNS)
    lines = [-(-number // columns) for number in numbers]
    size = (options["width"], options["width"] * 0.72 * sum(lines) / max(columns, 2))
    if options["columns"] is None:
        figure, grid = plt.subplots(sum(lines), columns, figsize=size, squeeze=False, layout="constrained")
        return figure, [[*grid[: lines[0]].flat], [*grid[lines[0] :].flat]], columns
    figure = plt.figure(figsize=size, layout="constrained")
    across = [min(number, columns) or 1 for number in numbers]
    cells = figure.add_gridspec(sum(lines), math.lcm(*across))
    found: list[list[Axes]] = []
    for number, wide, first in zip(numbers, across, (0, lines[0]), strict=True):
        step = math.lcm(*across) // wide
        places = [(first + i // wide, slice(i % wide * step, (i % wide + 1) * step)) for i in range(number)]
        found.append([figure.add_subplot(cells[place]) for place in places])
    return figure, found, columns


def _panels(
    places: Iterable[Axes],
    models: Sequence[str],
    letters: Iterator[str],
    options: Options,
    fill: Callable[[Axes, str], None],
) -> None:
    for axes, model in zip_longest(places, models):
        if model is None:
            axes.set_axis_off()
            continue
        fill(axes, model)
        title = style.title(options["title"], options["model_labels"][model])
        axes.set_title(f"({next(letters)}) {title}" if options["letters"] else title)


def _chosen(frame: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Rows of the figure's data set, text and K."""
    frame = frame[(frame["dataset"] == options["dataset"]) & (frame["text"] == options["text"])]
    return frame[frame["k_percent"] == options["k_percent"]]


def _boxes(axes: Axes, values: pd.DataFrame, model: str, options: Options) -> None:
    part = values[values["model"] == model]
    if part.empty:
        raise AtlasError(f"figures.*: the table mink has no rows of {model} for {options['dataset']}; run it again.")
    depths = sorted(part["depth"].unique())
    sns.boxplot(
        data=part, x="depth", y=options["measure"], hue="depth", order=depths, hue_order=depths, legend=False, ax=axes,
        palette={depth: _DEPTHS[depth] for depth in depths}, width=0.6, linewidth=0.8, fliersize=1.5, saturation=1,
    )  # fmt: skip
    axes.set_xticks(range(len(depths)), [f"Depth {depth}" for depth in depths])
    axes.set(xlabel="", ylabel=f"Depthwise Average {_MEASURES[options['measure']]}")
    _apply(axes, options, model, ("ylim", axes.set_ylim), ("yticks", axes.set_yticks))


def _gaps(axes: Axes, gaps: pd.DataFrame, model: str, options: Options, free: float) -> None:
    part = gaps[gaps["model"] == model]
    if gaps.empty:
        axes.set(xlim=(-1, 1), ylim=(0, 1), xticks=[], yticks=[], xlabel="Score Gap (D3 - D2)")
        axes.text(0.5, 0.5, _NO_GAPS, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.25")
        return
    for row, (group, colour) in enumerate(_GROUPS.items()):
        found = part.loc[part["group"] == group, "gap"]
        label = f"{group} (n = {len(found)})" if options["marks"] else group
        if found.nunique() > 1:
            sns.kdeplot(
                x=found, ax=axes, color=colour, fill=True, alpha=0.3, linewidth=1.1, label=label, warn_singular=False
            )
        else:  # no density of a single value
            axes.plot([], [], color=colour, label=label)
        if options["marks"]:
            # The rug stands below zero, a line for each group, so that marks of both can be told apart.
            axes.plot(
                found, np.full(len(found), 0.05 - 0.026 * row), ls="", marker="|", ms=4, mew=0.7, color=colour,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    drawn = bool(axes.collections)
    if drawn:
        top = axes.get_ylim()[1]
        axes.set_ylim(-0.1 * top if options["marks"] else 0, top / (1 - free))
    else:  # marks alone: nothing that an axis of densities could measure
        axes.set(xlim=(-1, 1), ylim=(0, 1), yticks=[])
        axes.text(0.5, 0.5, _NO_CURVE, transform=axes.transAxes, ha="center", va="center", fontsize=7, color="0.25")
    axes.axvline(0, color="0.7", lw=0.6, zorder=0)
    axes.set(xlabel="Score Gap (D3 - D2)", ylabel="Density" if drawn else "")
    axes.legend(loc="upper right", frameon=False)
    _apply(axes, options, model, ("xlim", axes.set_xlim), ("xticks", axes.set_xticks))
    if drawn:
        for value, setter in ((options["kde_ylim"], axes.set_ylim), (options["kde_yticks"], axes.set_yticks)):
            if (own := style.option(value, model)) is not None:
                setter(own)


def _apply(axes: Axes, options: Options, model: str, *setters: tuple[str, Callable[[Any], object]]) -> None:
    for name, setter in setters:
        value = style.option(options[name], model)
        if value is not None:
            setter(value)


def _caption(tables: Tables, options: Options, documents: Sources) -> str:
    trend = _chosen(tables["mink_trend"], options)
    template = option_of(documents["mink_trend"], options, lambda document: document["options"]["template"])
    measure, suffix = _MEASURES[options["measure"]], "_pp" if options["measure"] == "minkpp" else ""
    unit = "questions" if options["average"] == "question" else "graphs (mean over the questions of a graph)"
    name = {"answer": "the gold answer given its question", "question": "the question", "prediction": "the model's own "
            "answer given the question", "question_answer": "question and gold answer"}[options["text"]]  # fmt: skip
    sense = "mean log-probability" if options["measure"] == "mink" else "mean standardised log-probability"
    parts = [
        f"Depth is the question's: 1 conceptual, 2 procedural, 3 strategic. "
        f"{_rows('Upper', options['models'], options)}: {measure} with K = {options['k_percent']:g} of "
        f"{name} ({template} format), minus the {sense} of the "
        f"least likely K % of its tokens; larger means less memorised. Boxes are over {unit}: quartiles, whiskers to "
        f"1.5 times their distance. Log-probabilities in {_dtypes(trend, options)}. Data: "
        f"{options['dataset_label']}{_graphless(trend)}.",
    ]
    test = "Kendall's tau-b" if options["average"] == "question" else "Page's test"
    for model in options["models"]:
        rows = trend[trend["model"] == model].sort_values("depth")
        counts = ", ".join(f"{row.questions} at depth {row.depth}" for row in rows.itertuples())
        p, tau = rows[f"trend_p{suffix}"].iloc[0], rows[f"trend_tau{suffix}"].iloc[0]
        dropped = _dropped(model, documents["mink_trend"], options)
        parts.append(
            f"{options['model_labels'][model]}: {counts} ({dropped}); trend "
            f"over depths tau = {tau:.2f}, p = {_p(p)} ({test})."
        )
    if options["kde_models"]:
        parts += _gap_caption(tables["score_gap"], options, documents["score_gap"])
    return " ".join(parts)


def _graphless(trend: pd.DataFrame) -> str:
    """What is said of a data set that does not tell what its questions build on."""
    return "" if trend["predecessors"].any() else ", which names no predecessors, so that it has no graphs and no gaps"


def _rows(which: str, models: Sequence[str], options: Options) -> str:
    return f"{which} row" if len(models) <= (options["columns"] or _COLUMNS) else f"{which} rows"


def _dropped(model: str, documents: Documents, options: Options) -> str:
    """How many texts of a model were left out, and why."""
    reasons = dict(by_model(documents)[model]["dropped"][options["text"]])
    short = reasons.pop("under min_tokens")
    others = [f", {count} {reason}" for reason, count in reasons.items() if count]
    return f"{short} texts dropped as too short{''.join(others)}"


def _dtypes(trend: pd.DataFrame, options: Options) -> str:
    """The dtype of the models, one by one where they differ."""
    of = dict(zip(trend["model"], trend["dtype"], strict=True))
    return told({model: of[model] for model in options["models"]}, options["model_labels"])


def _gap_caption(gaps: pd.DataFrame, options: Options, documents: Documents) -> Iterator[str]:
    gaps = gaps[gaps["dataset"] == options["kde_dataset"]]
    rows = _rows("Lower", options["kde_models"], options)
    other = options["kde_dataset"] != options["dataset"]
    data = f" Data of it: {options['kde_dataset_label']}." if other else ""
    if gaps.empty:
        yield f"{rows}: no score gaps, because the data names no predecessors.{data}"
        return
    own = by_model(documents)
    shown = {**options, "models": options["kde_models"]}
    judged = option_of(documents, shown, _judge)
    first = {model: gaps[gaps["model"] == model].iloc[0] for model in options["kde_models"]}
    scored = told({m: f"K = {row['k_percent']:g}, {row['text']}" for m, row in first.items()}, options["model_labels"])
    yield (
        f"{rows}: judged score of a D3 question minus the mean of its D2 "
        "predecessors, divided by 4, for questions "
        "at or below the 25 % quantile (best memorised) and at or above the 75 % quantile of D3 Min-K% "
        f"({scored}) within the model{'; marks below are single questions' if options['marks'] else ''}. Judge: "
        f"{judged}.{data}"
    )
    for model in options["kde_models"]:
        part = gaps[gaps["model"] == model]
        base = part["answers_from"].iloc[0]
        left_out = ", ".join(f"{count} {reason}" for reason, count in own[model]["dropped"].items() if count)
        yield (
            f"{options['model_labels'][model]}: {len(part)} D3 questions{_sizes(part, options)}"
            + (f" ({left_out})." if left_out else ".")
            + ("" if base == model else " A control's answers and scores are its base's: only the groups differ.")
        )
    answers = {model: _answers(own[model]) for model in options["kde_models"]}
    if answers := {model: words for model, words in answers.items() if words}:
        yield f"Answers: {told(answers, options['model_labels'])}."


def _sizes(part: pd.DataFrame, options: Options) -> str:
    """How many questions each group has, where the legend does not say so."""
    if options["marks"]:
        return ""
    return ", " + ", ".join(f"{(part['group'] == group).sum()} in {group}" for group in _GROUPS)


def _judge(document: Document) -> str:
    judge = document["judge"]
    return {
        "reference": "a stand-in, 1 + 4 x ROUGE-L F1 against the gold answer, which sees shared words, not truth",
        "column": "scores that came with the data",
        "api": f"the language model {judge.get('api', {}).get('model', '')}",
    }[judge["kind"]]


def _answers(document: Document) -> str:
    """How the answers that were judged came about; nothing where the scores came with the data."""
    drawn = document.get("options", {}).get("predictions") if document["judge"]["kind"] != "column" else None
    if not drawn or not drawn["questions"]:
        return ""
    return (
        f"greedy, to {drawn['questions']} D3 questions drawn with seed {drawn['seed']} and all below "
        f"them, at most {'/'.join(map(str, drawn['max_new_tokens']))} tokens at depth 1/2/3"
    )


def _p(value: float) -> str:
    return "n/a" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
