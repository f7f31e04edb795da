"""What the sources claim, model by model: claims down, models across, verdict by colour and shape, value inside."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Polygon

from atlas.analyses.claims.verdicts import FAILS, HOLDS, NONE, OPEN, VERDICTS
from atlas.percent import percent
from atlas.plots import style
from atlas.plots.fitting import fit, legend_outside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from atlas.plots.types import Drawn, Options, Sources, Tables

_ROW = 0.27  # inches
_FEW, _LETTERS = 4, 62  # beside so few models so many letters of a sentence stand on one line
_LETTER = 0.052  # inches of one
_NARROW = 0.85  # inches of a column in which a mark has no room for more than its value
_WIDTH, _HEIGHT = 0.6, 0.8  # of a mark, in rows and columns
_COLOURS = {HOLDS: style.GREEN, FAILS: style.VERMILION, OPEN: style.YELLOW, NONE: (1.0, 1.0, 1.0)}
_OF_CONSTRUCTION = "†"


def draw(tables: Tables, options: Options, sources: Sources) -> Drawn:
    """(figure, caption) from the table claims: one line per claim and data set."""
    style.begin()
    models = options["models"]
    claims = tables["claims"]
    claims = claims[claims["model"].isin(models) & claims["decides"]]
    lines = _lines(claims)
    letters = _LETTERS if len(models) <= _FEW else 2 * _LETTERS // 3
    names = _names(claims, lines, options, letters)
    room = max((len(part) for name in names for part in name.split("\n")), default=0) * _LETTER
    column = (options["width"] - room) / max(len(models), 1)
    row = max([_ROW, *(0.1 * (name.count("\n") + 1) + 0.04 for name in names)])
    figure, axes = plt.subplots(figsize=(options["width"], 1.0 + row * len(lines)), layout="constrained")
    shown = claims.groupby(["model", "claim", "dataset"], sort=False)
    for line, (claim, dataset) in enumerate(lines):
        for place, model in enumerate(models):
            # What cannot be put to a model at all has no data set.
            key = next((key for of in (dataset, "") if (key := (model, claim, of)) in shown.groups), None)
            if key:
                _cell(axes, shown.get_group(key), place, line, column >= _NARROW)
    _axes(axes, lines, names, options, column)
    _left(figure, axes)
    handles, labels = [], []
    for verdict, colour in _COLOURS.items():
        handles.append(_Shape(facecolor=(*colour, 0.5), edgecolor="0.3", lw=0.6))
        handles[-1].verdict = verdict
        labels.append(verdict)
    legend_outside(figure, handles, labels, ncols=4, handler_map={_Shape: _Handler()}, handlelength=3.0)
    fit(figure)
    return figure, _caption(claims, options)


class _Shape(Patch):
    """An entry of the legend; the handler draws the mark of its verdict."""

    verdict = NONE


class _Handler:
    """Draws a mark where matplotlib wants the handle of a legend's entry."""

    def legend_artist(self, legend: Any, original: _Shape, fontsize: float, box: Any) -> Any:
        """The mark in the box of the handle."""
        x, y = box.xdescent + box.width / 2, box.ydescent + box.height / 2
        patch = _mark(original.verdict, x, y, box.width * 0.9, box.height * 1.3)
        patch.set_transform(box.get_transform())
        box.add_artist(patch)
        return patch


def _lines(claims: pd.DataFrame) -> list[tuple[str, str]]:
    """(claim, data set) by the claims' names; a claim that no model can be put to has one line."""
    pairs = list(dict.fromkeys(zip(claims["claim"], claims["dataset"], strict=True)))
    named = {claim for claim, dataset in pairs if dataset}
    return sorted((pair for pair in pairs if pair[1] or pair[0] not in named), key=lambda pair: pair[0])


def _mark(verdict: str, x: float, y: float, width: float, height: float) -> Patch:
    """The shape of a verdict around (x, y): rounded, rectangular, pointed, or an outline."""
    left, bottom = x - width / 2, y - height / 2
    look = dict(facecolor=(*_COLOURS[verdict], 0.5), edgecolor="0.3", lw=0.6)
    if verdict == HOLDS:
        tip = width * 0.18
        angles = np.linspace(-np.pi / 2, np.pi / 2, 15)
        right = np.c_[x + width / 2 - tip + tip * np.cos(angles), y + height / 2 * np.sin(angles)]
        return Polygon(np.r_[right, np.c_[2 * x - right[::-1, 0], right[::-1, 1]]], closed=True, **look)
    if verdict == FAILS:
        return Polygon([(left, bottom), (left + width, bottom), (left + width, y + height / 2), (left, y + height / 2)],
                       closed=True, **look)  # fmt: skip
    if verdict == OPEN:
        tip = width * 0.2
        return Polygon(
            [(left, y), (left + tip, bottom), (left + width - tip, bottom), (left + width, y),
             (left + width - tip, y + height / 2), (left + tip, y + height / 2)], closed=True, **look,
        )  # fmt: skip
    return Polygon([(x - width / 6, y), (x + width / 6, y)], closed=False, edgecolor="0.6", lw=1.0)


def _cell(axes: Axes, parts: pd.DataFrame, column: int, line: int, roomy: bool) -> None:
    """The verdict of a claim, with the value of the first part that it rests on, and its name where there is room."""
    verdict = parts["claim_verdict"].iloc[0]
    x, y = column + 0.42, line
    axes.add_patch(_mark(verdict, x, y, _WIDTH, _HEIGHT))
    if verdict == NONE:
        return
    # A claim may be undecided because a part of it could not be put to the model, while the others hold.
    row = next(some.iloc[0] for said in (verdict, NONE) if len(some := parts[parts["verdict"] == said]))
    value = "?" if np.isnan(row["value"]) else _number(row["value"])
    mark = _OF_CONSTRUCTION if row["by_construction"] else ""
    several = roomy and len(parts) > 1
    axes.text(x, y - (0.1 if several else 0), value + mark, ha="center", va="center", fontsize=6.5)
    if several:
        axes.text(x, y + 0.25, row["part"], ha="center", va="center", fontsize=5, color="0.25")
    if not np.isnan(row["published"]):
        axes.text(x + _WIDTH / 2 + 0.03, y, _number(row["published"]), va="center", fontsize=5.5, color="0.35")


def _number(value: float) -> str:
    return f"{value:{'.0f' if abs(value) >= 99.5 else '.2g'}}".replace("-", "−")


def _names(claims: pd.DataFrame, lines: Sequence[tuple[str, str]], options: Options, letters: int) -> list[str]:
    """What stands beside each line: the claim, in words at its first one, and the data set where it has several."""
    says = claims.drop_duplicates("claim").set_index("claim")["says"]
    several = {claim for claim, _ in lines if [other for other, _ in lines].count(claim) > 1}
    names, before = [], None
    for claim, dataset in lines:
        words = [] if claim == before else [f"{claim} ", says[claim]] if options["sentences"] else [claim]
        words += [f"[{options['dataset_labels'][dataset]}]"] if claim in several else []
        names.append(textwrap.fill(style.plain(" ".join(words)), letters))
        before = claim
    return names


def _axes(axes: Axes, lines: Sequence[tuple[str, str]], names: Sequence[str], options: Options, column: float) -> None:
    models, labels = options["models"], options["model_labels"]
    axes.set_yticks(range(len(lines)), names, fontsize=6)
    axes.set_ylim(len(lines) - 0.45, -0.55)
    wrapped = [textwrap.fill(style.plain(labels[model]), max(8, int(column / _LETTER))) for model in models]
    axes.set_xticks(np.arange(len(models)) + 0.42, wrapped, fontsize=6.5)
    axes.set_xlim(0, max(len(models), 1))
    axes.tick_params(axis="both", length=0, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for line in range(1, len(lines)):
        if lines[line][0][0] != lines[line - 1][0][0]:
            axes.axhline(line - 0.5, color="0.6", lw=0.5)


def _left(figure: Figure, axes: Axes) -> None:
    """Let the words of all lines begin at one place."""
    labels = axes.get_yticklabels()
    widths = [label.get_window_extent().width for label in labels]
    axes.tick_params(axis="y", pad=2 + 72 * max(widths, default=0) / figure.dpi)
    for label in labels:
        label.set_horizontalalignment("left")


def _caption(claims: pd.DataFrame, options: Options) -> str:
    number = len(claims.drop_duplicates(["claim", "dataset", "model"]))
    parts = [
        f"What the sources claim, tested on each model; n = {number} claims of models and data sets. A claim holds "
        f"where the {percent(_first(claims, 'confidence'))} interval of every quantity that it rests on lies where it "
        "says, and does not hold where one lies elsewhere, if that withstands correction for the tests of the model "
        "(Benjamini-Hochberg). In a mark: the measured value, and where there is room which quantity of several it is; "
        f"beside it: the published value for that model. {_OF_CONSTRUCTION}: true, or partly true, by construction. "
        "The table claims has every quantity with its interval, threshold, effect size and the control's value."
    ]
    for model in options["models"]:
        own = claims[claims["model"] == model]
        verdicts = own.drop_duplicates(["claim", "dataset"])
        said = [
            f"{verdict} {', '.join(dict.fromkeys(some['claim']))}"
            for verdict in VERDICTS
            if len(some := verdicts[verdicts["claim_verdict"] == verdict])
        ]
        parts.append(f"{options['model_labels'][model]} ({_first(own, 'tests'):.0f} tests): {'; '.join(said)}.")
    return " ".join(parts)


def _first(claims: pd.DataFrame, column: str) -> float:
    return float(claims[column].iloc[0]) if len(claims) else 0.0
