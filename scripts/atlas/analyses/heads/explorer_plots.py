"""The explorer's plots as Bokeh's document, without data: page/ fills them, and names are how it finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bokeh.document import Document
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import (
    AdaptiveTicker,
    BoxSelectTool,
    BoxZoomTool,
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    HoverTool,
    LinearColorMapper,
    PanTool,
    Range1d,
    TapTool,
    WheelZoomTool,
)
from bokeh.models.annotations import Label
from bokeh.palettes import Cividis256, PuOr11, linear_palette
from bokeh.plotting import figure
from matplotlib.colors import to_hex

from atlas.plots import style

NO_VALUES = "no values: the analysis\ndoes not cover this model"
# Okabe and Ito's colours, which the colour-blind can tell apart; the source's red and green are too close for that.
LABEL_COLOURS = {
    "Unclassified": "#d5d5d5",
    "Algorithmic": "#0072b2",
    "Knowledge": "#e69f00",
    "Linguistic": "#009e73",
    "Translation": "#d55e00",
    "2 categories": "#e0b3d0",
    "3 categories": "#a05195",
    "4 categories": "#4b1f78",
}


def document(metrics: Sequence[Mapping[str, Any]]) -> tuple[Any, list[str]]:
    """(Bokeh's document as JSON, the names of its roots in order): a map per measure, scatter and curve."""
    whole, places = Document(), {}
    shared = {
        "chosen": ColumnDataSource({"layer": [], "head": []}, name="chosen"),
        "picked": ColumnDataSource({"layer": [], "head": []}, name="picked"),
        # One pair of ranges: who zooms into one map sees the same heads in all.
        "layers": Range1d(start=-0.5, end=0.5, min_interval=2, name="layers"),
        "heads": Range1d(start=-0.5, end=0.5, min_interval=2, name="heads"),
    }
    for metric in [*metrics, {"name": "label", "diverging": False}]:
        places[f"map-{metric['name']}"] = _map(metric, shared)
    places["scatter"] = _scatter()
    places["curve"] = _curve()
    for name, root in places.items():
        root.name = name
        _tools(root, name)
        whole.add_root(root)
    return whole.to_json(deferred=False), list(places)


def _plot(**options: Any) -> Any:
    plot: Any = figure(
        toolbar_location=None, tools=[], output_backend="canvas", sizing_mode="stretch_width", min_width=200, **options
    )
    plot.grid.visible = False
    plot.title.text_font_size = "12px"
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = "10px"
    return plot


def _tools(plot: Any, name: str) -> None:
    """What dragging may do, all of it off: the page switches on what its reader chooses, so a finger scrolls first."""
    tools = {"zoom": BoxZoomTool(), "move": PanTool(), "wheel": WheelZoomTool()}
    if name != "curve":
        tools["pick"] = BoxSelectTool(continuous=False)
        plot.add_tools(TapTool())
        plot.js_on_event(Tap, CustomJS(args={"plot": plot}, code="atlas.tapped(plot.name, cb_obj.x, cb_obj.y)"))
        code = "if (cb_obj.final) atlas.boxed(plot.name, cb_obj.geometry)"
        plot.js_on_event(SelectionGeometry, CustomJS(args={"plot": plot}, code=code))
    for kind, tool in tools.items():
        tool.name = f"{kind}-{name}"
        plot.add_tools(tool)
    plot.toolbar.active_drag = plot.toolbar.active_scroll = None


def _hover(plot: Any, renderer: Any, variable: str, code: str, **options: Any) -> None:
    """A tooltip with the text that the page's own script gives for a place; Bokeh escapes it."""
    told = CustomJSHover(args={"plot": plot}, code=f"return {code}")
    text = f'<div style="white-space: pre-line">{variable}{{custom}}</div>'
    tool = HoverTool(renderers=[renderer], tooltips=text, formatters={variable: told}, limit=1, **options)
    plot.add_tools(tool)


def _map(metric: Mapping[str, Any], shared: Mapping[str, Any]) -> Any:
    """One measure over layer and head; values outside the filter are faint, heads without a value are hatched."""
    name = metric["name"]
    plot = _plot(
        height=200, x_axis_label="layer", y_axis_label="head", x_range=shared["layers"], y_range=shared["heads"]
    )
    plot.title.visible = False  # the page has it as text; a downloaded picture shows it
    plot.axis.ticker = AdaptiveTicker(min_interval=1, mantissas=[1, 2, 5], num_minor_ticks=0)
    if name == "label":
        mapper = LinearColorMapper(palette=list(LABEL_COLOURS.values()), low=-0.5, high=len(LABEL_COLOURS) - 0.5)
    else:
        palette = [*PuOr11] if metric["diverging"] else linear_palette(Cividis256, 64)
        mapper = LinearColorMapper(palette=palette, low=0, high=1)
    mapper.nan_color = "#ffffff"
    mapper.name = f"colours-{name}"
    images = []
    for layer, alpha in (("all", 0.18), ("shown", 1.0)):
        source = ColumnDataSource({"image": [], "dw": [], "dh": []}, name=f"{layer}-{name}")
        placed: dict[str, Any] = {"source": source, "x": -0.5, "y": -0.5, "dw": "dw", "dh": "dh"}
        images.append(plot.image("image", **placed, color_mapper=mapper, global_alpha=alpha))
    if name != "label":
        bar = images[-1].construct_color_bar(width=7, padding=2, major_label_text_font_size="9px")
        bar.name = f"bar-{name}"
        plot.add_layout(bar, "right")
    blank = ColumnDataSource({column: [] for column in ("x", "y", "width", "height")}, name=f"blank-{name}")
    # White alone would look like the 0 of a measure that has two signs.
    plot.rect(
        "x", "y", "width", "height", source=blank, fill_color="white", line_color=None,
        hatch_pattern="right_diagonal_line", hatch_color="#8a8a8a", hatch_scale=7, hatch_weight=0.7,
    )  # fmt: skip
    plot.add_layout(
        Label(
            x=6, y=60, x_units="screen", y_units="screen", text=NO_VALUES, text_font_size="11px", text_color="#555555",
            visible=False, name=f"none-{name}",
        )
    )  # fmt: skip
    for source, width in ((shared["picked"], 1), (shared["chosen"], 2.5)):
        # White on black: seen on every colour.
        for colour, extra in (("white", 2), ("black", 0)):
            plot.rect("layer", "head", 1, 1, source=source, fill_alpha=0, line_color=colour, line_width=width + extra)
    # Of $x, which is never null: Bokeh would say NaN itself.
    _hover(plot, images[0], "$x", "atlas.mapText(plot.name.slice(4), special_vars.x, special_vars.y)")
    return plot


def _scatter() -> Any:
    plot = _plot(height=330, x_axis_label="x", y_axis_label="y", x_range=Range1d(), y_range=Range1d())
    hidden = ColumnDataSource({"x": [], "y": []}, name="points-hidden")
    points = ColumnDataSource({"x": [], "y": []}, name="points")
    chosen = ColumnDataSource({"x": [], "y": []}, name="points-chosen")
    plot.scatter("x", "y", source=hidden, size=4, color="#bbbbbb", alpha=0.35)
    drawn = plot.scatter("x", "y", source=points, size=5, color="#0072b2", alpha=0.6)
    plot.scatter("x", "y", source=chosen, size=12, fill_alpha=0, line_color="black", line_width=2.5)
    _hover(plot, drawn, "$x", "atlas.pointText(special_vars.index)")
    return plot


def _curve() -> Any:
    plot = _plot(
        height=300,
        x_axis_label="position (span left out)",
        y_axis_label="average attention weight",
        x_range=Range1d(),
        y_range=Range1d(),
    )
    for name, colour, dash, label in (
        ("without", to_hex(style.BLUE), "solid", "without meaningless tokens"),
        ("with", to_hex(style.VERMILION), "dashed", "with meaningless tokens"),
    ):
        source = ColumnDataSource({"x": [], "y": []}, name=f"curve-{name}")
        line = plot.line("x", "y", source=source, color=colour, line_dash=dash, line_width=1.6, legend_label=label)
        code = f'atlas.curveText("{name}", special_vars.index)'
        _hover(plot, line, "$x", code, line_policy="nearest")
    plot.legend.label_text_font_size = "10px"
    plot.add_layout(plot.legend[0], "above")
    plot.legend.orientation = "horizontal"
    plot.legend.border_line_alpha = 0
    return plot
