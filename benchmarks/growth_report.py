"""What `growth.py` makes of its points: the table, fitted exponents, markdown and the figure. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from side_by_side import Row, row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A row of POINTS: x is a size of its axis, seconds and mib are None where they were not measured.
Point = Mapping[str, Any]
Measure = Literal["seconds", "mib"]

POINTS = ["series", "axis", "x", "seconds", "mib"]


@dataclass(frozen=True)
class Series:
    """What grows with what. bars: (exponent of seconds at most, of MiB at most), None where nothing is asked."""

    title: str
    label: str
    axis: str
    colour: str = "#0072B2"
    marker: str = "o"
    bars: tuple[float | None, float | None] = (None, None)


SERIES = {
    "column_statistics": Series("Column statistics", "this workflow", "tokens", bars=(2.0, 1.2)),
    "output_attentions": Series("Column statistics", "output_attentions", "tokens", "#D55E00", "s"),
    "ships_prompts": Series("Ships", "this workflow", "prompts", bars=(1.1, None)),
    "ships_heads": Series("Ships", "this workflow", "heads", bars=(1.1, None)),
    "maps_heads": Series("MAPS", "this workflow", "heads", bars=(1.1, None)),
    "min_k_tokens": Series("Min-K%", "this workflow", "tokens", bars=(1.1, None)),
    "shards": Series("Shards", "all shards together", "shards"),
}
MEASURES: dict[Measure, str] = {"seconds": "seconds", "mib": "MiB above the model"}


@dataclass(frozen=True)
class Fit:
    """y = c x^exponent by least squares on logarithms; `last` the exponent between the two largest x."""

    exponent: float
    error: float
    scale: float
    last: float
    xs: tuple[float, ...]


def fit(xs: Iterable[float], ys: Iterable[float | None]) -> Fit | None:
    """The Fit of points, or None for fewer than three. Points where nothing was measured (y not above 0) are left out.

    One exponent over all sizes describes a sum of terms (fixed, linear, quadratic); `last` shows where it is heading.
    """
    from scipy.stats import linregress

    kept = sorted((x, y) for x, y in zip(xs, ys, strict=True) if y is not None and y > 0)
    if len({x for x, _ in kept}) < 3:
        return None
    logs = [(math.log(x), math.log(y)) for x, y in kept]
    line = linregress(*zip(*logs, strict=True))
    (x0, y0), (x1, y1) = logs[-2:]
    return Fit(line.slope, line.stderr, math.exp(line.intercept), (y1 - y0) / (x1 - x0), tuple(x for x, _ in kept))


def fixed_cost(shards: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(seconds that each shard adds, seconds of the work itself): a straight line through the totals of n shards."""
    from scipy.stats import linregress

    line = linregress(shards, seconds)
    return line.slope, line.intercept


def table(measured: Mapping[str, Iterable[Point]]) -> list[dict[str, Any]]:
    """Rows of POINTS from {series: [{x, seconds, mib}]}, in the order of SERIES and of x."""
    if unknown := set(measured) - set(SERIES):
        raise ValueError(f"unknown series {sorted(unknown)}")
    rows = []
    for name in SERIES:
        for point in sorted(measured.get(name, ()), key=lambda found: found["x"]):
            rows.append({"series": name, "axis": SERIES[name].axis, **{key: point.get(key) for key in POINTS[2:]}})
    return rows


def curve(points: Iterable[Point], name: str, measure: Measure) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(xs, ys) of one series, without the points at which this was not measured."""
    found = [(p["x"], p[measure]) for p in points if p["series"] == name and p[measure] is not None]
    return tuple(x for x, _ in found), tuple(y for _, y in found)


def summary(points: Sequence[Point], notes: Mapping[str, str] | None = None) -> list[Row]:
    """Rows as of every benchmark: each exponent with its bar, and what a shard costs. notes: {series: text}."""
    rows, notes = [], notes or {}
    for name, series in SERIES.items():
        for measure, bar in zip(MEASURES, series.bars, strict=True):
            xs, ys = curve(points, name, measure)
            if name == "shards" or (found := fit(xs, ys)) is None:
                continue
            what = name if series.label == "output_attentions" else series.title
            note = (
                f"± {found.error:.2f} over {found.xs[0]:,} to {found.xs[-1]:,} {series.axis} ({len(found.xs)} points), "
                f"between the last two {found.last:.2f}; {ys[0]:.3g} to {ys[-1]:.3g} {MEASURES[measure]}"
            )
            text = "; ".join(filter(None, (note, notes.get(name))))
            key = f"{what}: exponent of {'seconds' if measure == 'seconds' else 'MiB'} in {series.axis}"
            rows.append(row(key, found.exponent, bar, most=True, note=text))
    xs, ys = curve(points, "shards", "seconds")
    if len(xs) > 1:
        each, work = fixed_cost(xs, ys)
        note = f"{each:.1f} s each beside {work:.1f} s of work that they share, 1 to {max(xs)} shards"
        text = "; ".join(filter(None, (note, notes.get("shards"))))
        rows.append(row("Shards: processor seconds that each adds", each, note=text))
    return rows


def markdown(points: Sequence[Point], rows: Sequence[Row], where: str) -> str:
    """The exponents and the points they are fitted to."""
    lines = ["# How cost grows", "", where, "", "| exponent | value | at most | note |", "| --- | --- | --- | --- |"]
    lines += [f"| {r['measure']} | {r['ratio']} | {r['bar']} | {r['note']} |" for r in rows]
    lines += ["", "| series | axis | x | seconds | MiB above the model |", "| --- | --- | ---: | ---: | ---: |"]
    for p in points:
        seconds, mib = (("" if p[key] is None else f"{p[key]:.3g}") for key in ("seconds", "mib"))
        lines.append(f"| {p['series']} | {p['axis']} | {p['x']:,} | {seconds} | {mib} |")
    return "\n".join(lines) + "\n"


def panels(points: Sequence[Point]) -> list[tuple[str, str, Measure, list[str]]]:
    """[(title, axis, measure, names of the series in it)] of what has points, in the order of SERIES."""
    found: dict[tuple[str, str, Measure], list[str]] = {}
    for name, series in SERIES.items():
        for measure in MEASURES:
            if curve(points, name, measure)[0]:
                found.setdefault((series.title, series.axis, measure), []).append(name)
    return [(*key, names) for key, names in found.items()]


def draw(points: Sequence[Point], where: str, path: str | Path) -> None:
    """Log-log panels with fitted lines and their exponents, as path.pdf, .svg and .png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = panels(points)
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(1.85 * columns, 1.9 * lines + 0.5), squeeze=False, layout="constrained"
    )
    for axes, (title, axis, measure, names) in zip(grid.flat, shown, strict=False):
        for name in names:
            series, (xs, ys) = SERIES[name], curve(points, name, measure)
            text = None if len(names) == 1 else series.label
            if found := fit(xs, ys):
                text = f"{series.label}: {found.exponent:.2f}" if len(names) > 1 else f"exponent {found.exponent:.2f}"
                fitted = [found.scale * x**found.exponent for x in found.xs]
                axes.plot(found.xs, fitted, "--", color=series.colour, linewidth=0.8)
            axes.plot(xs, ys, series.marker, color=series.colour, markersize=4, linestyle="none", label=text)
        _scales(axes, sorted({x for name in names for x in curve(points, name, measure)[0]}))
        axes.set_title(title, fontsize=8)
        axes.set_xlabel(axis, fontsize=7)
        axes.set_ylabel("processor seconds" if title == "Shards" else MEASURES[measure], fontsize=7)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=6, frameon=False, handletextpad=0.2, borderpad=0.1)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_axis_off()
    figure.text(0.5, -0.01, where, ha="center", va="top", fontsize=6, wrap=True)
    for suffix, metadata in {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}.items():
        figure.savefig(Path(path).with_suffix(f".{suffix}"), metadata=metadata, dpi=200, bbox_inches="tight")
    plt.close(figure)


def _scales(axes: Axes, xs: Sequence[float]) -> None:
    """Logarithmic axes with every second size as a tick, and room for the legend above the points."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(xs if len(xs) < 5 else xs[::2])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)
    axes.tick_params(labelsize=6)
    axes.grid(linewidth=0.3)
