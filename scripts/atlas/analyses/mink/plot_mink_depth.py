"""Min-K% by depth of question (upper row) and the score gaps of the groups it makes (lower row), one panel per model.

Source: Ko et al. 2024, arXiv 2406.19502, the figure of Min-K% by depth and of score gaps by quantile.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from atlas.errors import AtlasError
from atlas.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from atlas.plots.types import Documents, Drawn, Options, Sources, Tables

_DEPTHS = {1: style.BLUE, 2: style.ORANGE, 3: style.GREEN}
_GROUPS = {"25%": style.GREEN, "75%": style.ORANGE}
_MEASURES = {"mink": "MIN-K%", "minkpp": "MIN-K%++"}


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the tables mink, mink_graphs, mink_trend and score_gap."""
    style.begin()
    upper, lower = options["models"], options["kde_models"]
    columns = max(len(upper), len(lower))
    figure, grid = plt.subplots(
        2, columns, figsize=(options["width"], options["width"] * 0.72 * 2 / max(columns, 2)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    values = _chosen(tables["mink" if options["average"] == "question" else "mink_graphs"], options)
    letters = iter(string.ascii_lowercase)
    for column in range(columns):
        _panel(
            grid[0, column], upper, column, letters, options, lambda axes, model: _boxes(axes, values, model, options)
        )
    gaps = tables["score_gap"]
    gaps = gaps[gaps["dataset"] == options["dataset"]]
    for column in range(columns):
        _panel(grid[1, column], lower, column, letters, options, lambda axes, model: _gaps(axes, gaps, model, options))
    return figure, _caption(tables, options, sources)


def _panel(
    axes: Axes,
    models: Sequence[str],
    column: int,
    letters: Iterator[str],
    options: Options,
    fill: Callable[[Axes, str], None],
) -> None:
    if column >= len(models):
        axes.set_axis_off()
        return
    model = models[column]
    fill(axes, model)
    label = options["model_labels"][model]
    title = style.title(options["title"], label)
    axes.set_title(f"({next(letters)}) {title}" if options["letters"] else title)


def _chosen(frame: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Rows of the figure's data set, text and K."""
    frame = frame[(frame["dataset"] == options["dataset"]) & (frame["text"] == options["text"])]
    return frame[frame["k_percent"] == options["k_percent"]]


def _boxes(axes: Axes, values: pd.DataFrame, model: str, options: Options) -> None:
    part = values[values["model"] == model]
    if part.empty:
        raise AtlasError(f"figures: the table mink has no rows of {model} for {options['dataset']}; run it again.")
    depths = sorted(part["depth"].unique())
    sns.boxplot(
        data=part, x="depth", y=options["measure"], hue="depth", order=depths, hue_order=depths, legend=False, ax=axes,
        palette={depth: _DEPTHS[depth] for depth in depths}, width=0.6, linewidth=0.8, fliersize=1.5, saturation=1,
    )  # fmt: skip
    axes.set_xticks(range(len(depths)), [f"Depth {depth}" for depth in depths])
    axes.set(xlabel="", ylabel=f"Depthwise Average {_MEASURES[options['measure']]}")
    _apply(axes, options, model, ("ylim", axes.set_ylim), ("yticks", axes.set_yticks))


def _gaps(axes: Axes, gaps: pd.DataFrame, model: str, options: Options) -> None:
    part = gaps[gaps["model"] == model]
    for row, (group, colour) in enumerate(_GROUPS.items()):
        found = part.loc[part["group"] == group, "gap"]
        label = f"{group} (n = {len(found)})"
        if found.nunique() > 1:
            sns.kdeplot(
                x=found, ax=axes, color=colour, fill=True, alpha=0.3, linewidth=1.1, label=label, warn_singular=False
            )
        else:  # no density of a single value
            axes.plot([], [], color=colour, label=label)
        # The rug stands below zero, a line for each group, so that marks of both can be told apart.
        axes.plot(
            found, np.full(len(found), 0.05 - 0.026 * row), ls="", marker="|", ms=4, mew=0.7, color=colour,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    if axes.dataLim.height > 0:
        top = axes.get_ylim()[1]
        axes.set_ylim(-0.1 * top, 1.25 * top)
    axes.axvline(0, color="0.7", lw=0.6, zorder=0)
    axes.set(xlabel="Score Gap (D3 - D2)", ylabel="Density")
    axes.legend(loc="upper right", frameon=False)
    _apply(axes, options, model, ("xlim", axes.set_xlim), ("xticks", axes.set_xticks))


def _apply(axes: Axes, options: Options, model: str, *setters: tuple[str, Callable[[Any], object]]) -> None:
    for name, setter in setters:
        value = style.option(options[name], model)
        if value is not None:
            setter(value)


def _caption(tables: Tables, options: Options, documents: Sources) -> str:
    trend = _chosen(tables["mink_trend"], options)
    document = next(iter(documents["mink_trend"].values()))
    measure, suffix = _MEASURES[options["measure"]], "_pp" if options["measure"] == "minkpp" else ""
    unit = "questions" if options["average"] == "question" else "graphs (mean over the questions of a graph)"
    name = {"answer": "the gold answer given its question", "question": "the question", "prediction": "the model's own "
            "answer given the question", "question_answer": "question and gold answer"}[options["text"]]  # fmt: skip
    sense = "mean log-probability" if options["measure"] == "mink" else "mean standardised log-probability"
    parts = [
        f"Depth is the question's: 1 conceptual, 2 procedural, 3 strategic. Upper row: {measure} with K = "
        f"{options['k_percent']:g} of {name} ({document['options']['template']} format), minus the {sense} of the "
        f"least likely K % of its tokens; larger means less memorised. Boxes are over {unit}: quartiles, whiskers to "
        f"1.5 times their distance. Log-probabilities in {_dtypes(trend, options)}. Data: {options['dataset_label']}.",
    ]
    test = "Kendall's tau-b" if options["average"] == "question" else "Page's test"
    for model in options["models"]:
        rows = trend[trend["model"] == model].sort_values("depth")
        counts = ", ".join(f"{row.questions} at depth {row.depth}" for row in rows.itertuples())
        p, tau = rows[f"trend_p{suffix}"].iloc[0], rows[f"trend_tau{suffix}"].iloc[0]
        dropped = _dropped(model, rows, documents["mink_trend"], options)
        parts.append(
            f"{options['model_labels'][model]}: {counts} ({dropped}); trend "
            f"over depths tau = {tau:.2f}, p = {_p(p)} ({test})."
        )
    if options["kde_models"]:
        parts += _gap_caption(tables["score_gap"], options, documents["score_gap"])
    return " ".join(parts)


def _dropped(model: str, rows: pd.DataFrame, documents: Documents, options: Options) -> str:
    """How many texts of a model were left out, and why."""
    own = next((document for file, document in documents.items() if f"/{model}/" in file), {})
    reasons = dict(own.get("dropped", {}).get(options["text"], {}))
    short = reasons.pop("under min_tokens", int(rows["dropped"].iloc[0]))
    others = [f", {count} {reason}" for reason, count in reasons.items() if count]
    return f"{short} texts dropped as too short{''.join(others)}"


def _dtypes(trend: pd.DataFrame, options: Options) -> str:
    """The dtype of the models, one by one where they differ."""
    of = dict(zip(trend["model"], trend["dtype"], strict=True))
    if len(set(of.values())) == 1:
        return next(iter(of.values()))
    return ", ".join(f"{of[model]} ({options['model_labels'][model]})" for model in options["models"])


def _gap_caption(gaps: pd.DataFrame, options: Options, documents: Documents) -> Iterator[str]:
    gaps = gaps[gaps["dataset"] == options["dataset"]]
    document = next(iter(documents.values()))
    judge = document["judge"]["kind"]
    judged = {
        "reference": "a stand-in, 1 + 4 x ROUGE-L F1 against the gold answer, which sees shared words, not truth",
        "column": "scores that came with the data",
        "api": f"the language model {document['judge'].get('api', {}).get('model', '')}",
    }[judge]
    text, k_percent = gaps["text"].iloc[0], gaps["k_percent"].iloc[0]
    yield (
        "Lower row: judged score of a D3 question minus the mean of its D2 predecessors, divided by 4, for questions "
        "at or below the 25 % quantile (best memorised) and at or above the 75 % quantile of D3 Min-K% "
        f"(K = {k_percent:g}, {text}) within the model; marks below are single questions. Judge: {judged}."
    )
    drawn = document.get("options", {}).get("predictions") if judge != "column" else None
    for model in options["kde_models"]:
        part = gaps[gaps["model"] == model]
        base = part["answers_from"].iloc[0]
        own = next((d for file, d in documents.items() if f"/{model}/" in file), document)
        left_out = ", ".join(f"{count} {reason}" for reason, count in own["dropped"].items() if count)
        yield (
            f"{options['model_labels'][model]}: {len(part)} D3 questions"
            + (f" ({left_out})." if left_out else ".")
            + ("" if base == model else " A control's answers and scores are its base's: only the groups differ.")
        )
    if drawn and drawn["questions"]:
        yield (
            f"Answers: greedy, to {drawn['questions']} D3 questions drawn with seed {drawn['seed']} and all below "
            f"them, at most {'/'.join(map(str, drawn['max_new_tokens']))} tokens at depth 1/2/3."
        )


def _p(value: float) -> str:
    return "n/a" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
