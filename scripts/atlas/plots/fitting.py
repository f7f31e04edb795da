"""Texts that fit: titles, labels and legends are wrapped, then made smaller, and ticks thinned, until none touches.

Labels of models have up to 80 characters and figures any number of panels, so no size that is written down fits all.
What has room is left as it is, and the figure grows by the lines that are added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.transforms import Bbox

_GAP = 3.0  # points between two texts
_SMALLEST = 5.0  # points
_MORE_LINES = 2  # before a text is made smaller
_OVERHANG = 1.12  # of the height of a panel that its label may have
_EDGE = 0.02  # of a figure's width that a text may stand out; what is saved has it
_LEADING = 1.2  # line height over font size, as matplotlib has it
_MATHS = r"(?<!\\)\$.+?(?<!\\)\$"
_WORDS = r"\s+|\S+"
# Of a word that is wider than a line: letters with the sign behind which a line may end; of those, the letters.
_PARTS = (r"(?:\\\$|[^\-_/:,])*[-_/:,]|(?:\\\$|[^\-_/:,])+", r"\\\$|.")


def fit(figure: Figure) -> None:
    """Let every text of a finished figure fit."""
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.axison]
    # Layout starts from where panels stand, so that measuring must not move them.
    places = [(axes, axes.get_position(original=True).frozen()) for axes in figure.axes]
    legends = [legend for axes in panels if (legend := axes.get_legend()) is not None]
    for legend in legends:  # one that is too wide would squeeze its panel, and the room that it has could not be told
        legend.set_in_layout(False)
    lay_out(figure)
    added: dict[float, float] = {}
    for axes in panels:
        row = round(axes.get_window_extent().y1)
        added[row] = max(added.get(row, 0), _fit_panel(axes, panels))
    for legend in legends:
        legend.set_in_layout(True)
    _grow(figure, sum(added.values()))
    lay_out(figure)
    for axes in panels:  # what is left of their height
        _fit_text(axes.yaxis.label, _OVERHANG * axes.get_window_extent().height)
        for axis in (axes.xaxis, axes.yaxis):
            _fit_ticks(axis, figure)
    for axes, place in places:
        axes._set_position(place)  # type: ignore[attr-defined]


def lay_out(figure: Figure) -> None:
    """Put the panels of a figure where they are drawn, without the time that drawing takes."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    for axes in figure.axes:  # one of a fixed shape takes it when it is drawn
        locator = axes.get_axes_locator()
        axes.apply_aspect(locator(axes, _renderer(figure)) if locator is not None else None)


def legend_outside(
    figure: Figure,
    handles: Sequence[Any],
    labels: Sequence[str],
    *,
    ncols: int,
    above: bool = False,
    **looks: Any,
) -> Legend:
    """A legend below (or above) all panels, in at most `ncols` columns, as many as fit into the figure's width.

    The figure has room for the rows of `ncols` columns already; it grows by those that are added.
    """
    expected = -(-len(handles) // ncols)
    for columns in range(ncols, 0, -1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside upper center" if above else "outside lower center",
            ncols=columns,
            frameon=False,
            **looks,
        )
        if legend.get_window_extent(_renderer(figure)).width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    lines = -(-len(handles) // columns) - expected
    size = _size(legend.get_texts()[0])
    if columns == 1:
        lines += _wrap_legend(legend, figure.bbox.width)
    _grow(figure, max(lines, 0) * size * 1.5)
    return legend


def clear(text: Text, axes: Axes) -> None:
    """Move a text inside a panel below the panel's legend and to the right of its left edge, where it touches them.

    After `fit`, which decides how large both are.
    """
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    renderer, inside = _renderer(figure), axes.get_window_extent()
    legend = axes.get_legend()
    if legend is not None and legend.get_window_extent(renderer).overlaps(text.get_window_extent(renderer)):
        low = axes.transAxes.inverted().transform((0, legend.get_window_extent(renderer).y0))[1]
        text.set(y=low, va="top")
    beyond = inside.x0 - text.get_window_extent(renderer).x0
    if beyond > 0:
        x = axes.transData.transform((text.get_position()[0], 0))[0] + beyond + 2
        text.set_x(axes.transData.inverted().transform((x, 0))[0])


def wrapped(line: str, width: float, measure: Any) -> str:
    """`line` broken behind blanks and signs, and inside a word only where it alone is wider; no line is wider.

    width: in the unit of measure(text). Mathematics between dollar signs stays in one piece.
    """
    dollars = len(re.findall(r"(?<!\\)\$", line))
    maths = re.compile(_MATHS if dollars and dollars % 2 == 0 else "(?!)")
    pieces = re.findall(f"{maths.pattern}|{_WORDS}", line)
    for parts in _PARTS:
        pieces = [
            part
            for piece in pieces
            for part in ([piece] if maths.match(piece) or measure(piece) <= width else re.findall(parts, piece))
        ]
    lines = [""]
    for piece in pieces:
        if lines[-1] and measure((lines[-1] + piece).strip()) > width:
            lines.append("")
        lines[-1] += piece if lines[-1] or not piece.isspace() else ""
    return "\n".join(text.strip() for text in lines)


def _renderer(figure: Figure) -> RendererBase:
    return figure.canvas.get_renderer()  # type: ignore[attr-defined]


def _grow(figure: Figure, points: float) -> None:
    if points > 0:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + points / 72)


def _fit_panel(axes: Axes, panels: Sequence[Axes]) -> float:
    """Fit what stands around one panel; returns the points of height that it takes more."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "panels are in a figure"
    gap = _GAP * figure.dpi / 72
    width = _room(axes, panels, panels)
    added = _fit_text(axes.title, width - gap)
    added += _fit_text(axes.xaxis.label, width - gap)
    for text in axes.texts:
        _fit_text(text, axes.get_window_extent().width - gap)
    if (legend := axes.get_legend()) is not None:
        outside = legend.get_window_extent(_renderer(figure)).y1 < axes.get_window_extent().y0
        size = _size(legend.get_texts()[0])
        beside = _room(axes, panels, [other for other in panels if other.get_legend() is not None])
        lines = _wrap_legend(legend, (beside if outside else axes.get_window_extent().width) - gap)
        added += lines * size * _LEADING if outside else 0
    return added


def _room(axes: Axes, panels: Sequence[Axes], crowded: Sequence[Axes]) -> float:
    """Pixels across that a text in the middle of a panel has: halfway to those neighbours that have one there as well
    (`crowded`), as far as the others, or to the figure's edge."""
    box = axes.get_window_extent()
    figure = axes.get_figure(root=True)
    assert figure is not None, "panels are in a figure"
    left, right = figure.bbox.x0 - _EDGE * figure.bbox.width, figure.bbox.x1 + _EDGE * figure.bbox.width
    for other in panels:
        beside = other.get_window_extent()
        if other is axes or hasattr(other, "_colorbar") or beside.y1 <= box.y0 or beside.y0 >= box.y1:
            continue
        share = 0.5 if other in crowded else 1.0
        if beside.x1 <= box.x0:
            left = max(left, box.x0 - share * (box.x0 - beside.x1))
        if beside.x0 >= box.x1:
            right = min(right, box.x1 + share * (beside.x0 - box.x1))
    middle = (box.x0 + box.x1) / 2
    return float(2 * min(middle - left, right - middle))


def _fit_text(text: Text, width: float) -> float:
    """Wrap `text`, and where that takes many lines shrink it, to `width` pixels; returns the points of height added."""
    whole, size = text.get_text(), _size(text)
    if not whole or _length(text, whole) <= width:
        return 0
    lines = whole.split("\n")
    for smaller in np.arange(size, _SMALLEST - 0.1, -0.5):
        text.set_fontsize(float(smaller))
        found = "\n".join(wrapped(line, width, lambda part: _length(text, part)) for line in lines)
        if found.count("\n") + 1 <= len(lines) + _MORE_LINES and _length(text, found) <= width:
            break
    text.set_text(found)
    more = (found.count("\n") + 1) * _size(text) - len(lines) * size
    return max(float(more) * _LEADING, 0)


def _length(text: Text, content: str) -> float:
    """Pixels that `content` takes along its line in the look of `text`, whatever its rotation."""
    figure = text.get_figure(root=True)
    assert figure is not None, "texts are in a figure"
    other = Text(0, 0, content, fontproperties=text.get_fontproperties(), figure=figure)
    return float(other.get_window_extent(_renderer(figure)).width)


def _size(text: Text) -> float:
    """Points; a text has them as a number once it is made."""
    return float(text.get_fontsize())


def _wrap_legend(legend: Legend, width: float) -> int:
    """Let a legend take at most `width` pixels; returns the lines that it takes more."""
    figure, texts = legend.get_figure(root=True), legend.get_texts()
    assert figure is not None, "legends are in a figure"

    def too_wide() -> float:
        return float(legend.get_window_extent(_renderer(figure)).width) - width

    if too_wide() <= 0:
        return 0
    size, columns = _size(texts[0]), legend._ncols  # type: ignore[attr-defined]
    while too_wide() > 0 and columns > 1 and size > _SMALLEST:
        size -= 0.5
        for text in texts:
            text.set_fontsize(size)
    if columns > 1 or (excess := too_wide()) <= 0:
        return 0  # entries side by side are short: numbers and their units stay together
    room = max(_length(text, text.get_text()) for text in texts) - excess
    before = sum(text.get_text().count("\n") for text in texts)
    for text in texts:
        text.set_text(wrapped(text.get_text(), room, lambda part, text=text: _length(text, part)))
    return sum(text.get_text().count("\n") for text in texts) - before


def _fit_ticks(axis: Axis, figure: Figure) -> None:
    """Words become smaller and then stand upright, numbers are left out, until the labels of an axis do not touch."""
    across = axis.axis_name == "x"  # type: ignore[attr-defined]
    labels = _shown(axis)
    if not _touching(labels, across, figure):
        return
    if isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter)):
        size = _size(labels[0])
        while _touching(labels, across, figure) and size > _SMALLEST:
            size -= 0.5
            axis.set_tick_params(labelsize=size)
        if _touching(labels, across, figure) and across:
            axis.set_tick_params(labelrotation=90)
        return
    places = [label.get_position()[0 if across else 1] for label in labels]
    steps = np.diff(places)
    if np.allclose(steps, steps[0]):
        step = next((n for n in range(2, len(labels)) if not _touching(labels[::n], across, figure)), len(labels))
        axis.set_major_locator(FixedLocator(places[::step]))
        return
    kept = labels[:1]
    for label in labels[1:]:
        kept += [] if _touching([kept[-1], label], across, figure) else [label]
    axis.set_ticks(places, [label.get_text() if label in kept else "" for label in labels])


def _shown(axis: Axis) -> list[Text]:
    """The labels of an axis that are drawn, in the order of their places."""
    low, high = sorted(axis.get_view_interval())
    coordinate = 0 if axis.axis_name == "x" else 1  # type: ignore[attr-defined]
    margin = 1e-6 * (high - low)
    labels = [
        label
        for label in axis.get_ticklabels()
        if label.get_visible()
        and label.get_text()
        and low - margin <= label.get_position()[coordinate] <= high + margin
    ]
    return sorted(labels, key=lambda label: label.get_position()[coordinate])


def _touching(labels: Sequence[Text], across: bool, figure: Figure) -> bool:
    """Whether two neighbours of `labels`, in the order of their places, stand closer than a gap."""
    gap = (_GAP if across else 0) * figure.dpi / 72
    boxes: list[Bbox] = sorted(
        (label.get_window_extent(_renderer(figure)) for label in labels), key=lambda box: box.x0 if across else box.y0
    )
    return any((after.x0 - box.x1 if across else after.y0 - box.y1) < gap for box, after in pairwise(boxes))
