"""One page with every head of every model as a mark in linked maps; it needs no network.

Bokeh draws (its script is written into the page); page/ holds the page itself. Its bytes depend on its data alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from bokeh.document import Document
from bokeh.events import SelectionGeometry, Tap
from bokeh.models import (
    AdaptiveTicker,
    BoxSelectTool,
    ColumnDataSource,
    CustomJS,
    LinearColorMapper,
    Range1d,
    TapTool,
)
from bokeh.models.annotations import Label
from bokeh.palettes import Cividis256, PuOr11, linear_palette
from bokeh.plotting import figure
from bokeh.resources import INLINE
from matplotlib.colors import to_hex

from atlas.analyses.heads.claims_section import claims_section
from atlas.analyses.heads.explorer_data import page_data
from atlas.analyses.heads.measures import measures
from atlas.plots import style
from atlas.plots.captions import blank_layers, told
from atlas.results.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from atlas.plots.types import Options, Sources, Tables

PAGE = Path(__file__).parent / "page"
_EVERY_HEAD = ("sinks", "safety_heads")  # analyses that measure every head there is
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


def draw(tables: Tables, options: Options, sources: Sources) -> tuple[str, str]:
    """(html, caption) of the explorer; tables and options as of explorer_data.page_data."""
    data = page_data(tables, options)
    document, places = _document(data["metrics"])
    values = {
        "style": (PAGE / "explorer.css").read_text(encoding="utf-8"),
        "bokeh": INLINE.js_raw[0],
        "claims": claims_section(
            tables.get("claims") if options["claims"] else None,
            {model["key"]: model["label"] for model in data["models"]},
        ),
        "data": _json({**data, "colours": list(LABEL_COLOURS.values()), "places": places}),
        "document": _stable_ids(_json(document)),
        "script": "".join((PAGE / name).read_text(encoding="utf-8") for name in ("salient.js", "explorer.js")),
    }
    return Template((PAGE / "explorer.html").read_text(encoding="utf-8")).substitute(values), " ".join(
        [_caption(data, options), *_blank_layers(tables["heads"], options)]
    )


def save(page: str, caption: str, output: Any) -> None:
    """Write the page to output.html and its caption (plain text) to output.caption."""
    for path, text in ((output.html, page), (output.caption, caption + "\n")):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _json(value: object) -> str:
    """JSON that can stand inside a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    return re.sub(r"<(?=!--|script)", r"\\u003c", text, flags=re.IGNORECASE)


def _stable_ids(text: str) -> str:
    """Bokeh's ids numbered from 1 in their order, whatever else this process has drawn before."""
    numbers: dict[str, int] = {}
    return re.sub(r'"p\d{4,}"', lambda found: f'"b{numbers.setdefault(found[0], len(numbers) + 1)}"', text)


def _document(metrics: Sequence[Mapping[str, Any]]) -> tuple[Any, list[str]]:
    """Bokeh's document without data, and which root belongs to which element of the page."""
    document, places = Document(), {}
    chosen = ColumnDataSource({"layer": [], "head": []}, name="chosen")
    picked = ColumnDataSource({"layer": [], "head": []}, name="picked")
    for metric in [*metrics, {"name": "label", "label": "category", "unit": "", "diverging": False}]:
        places[f"map-{metric['name']}"] = _map(metric, chosen, picked)
    places["scatter"] = _scatter()
    places["curve"] = _curve()
    for name, root in places.items():
        root.name = name
        document.add_root(root)
    return document.to_json(deferred=False), list(places)


def _plot(**options: Any) -> Any:
    plot: Any = figure(toolbar_location=None, tools=[], output_backend="canvas", **options)
    plot.grid.visible = False
    plot.title.text_font_size = "11px"
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = "10px"
    return plot


def _pointing(plot: Any) -> None:
    """Click chooses a head, dragging picks several; the page's own script decides which."""
    plot.add_tools(TapTool(), box := BoxSelectTool(continuous=False))
    plot.toolbar.active_drag = box
    plot.js_on_event(Tap, CustomJS(args={"plot": plot}, code="atlas.tapped(plot.name, cb_obj.x, cb_obj.y)"))
    code = "if (cb_obj.final) atlas.boxed(plot.name, cb_obj.geometry)"
    plot.js_on_event(SelectionGeometry, CustomJS(args={"plot": plot}, code=code))


def _map(metric: Mapping[str, Any], chosen: ColumnDataSource, picked: ColumnDataSource) -> Any:
    """One measure over layer and head; values outside the filter are faint."""
    plot = _plot(
        title=f"{metric['label']}" + (f" ({metric['unit']})" if metric["unit"] else ""),
        width=285,
        height=190,
        x_axis_label="layer",
        y_axis_label="head",
        x_range=Range1d(start=-0.5, end=0.5),
        y_range=Range1d(start=-0.5, end=0.5),
    )
    plot.axis.ticker = AdaptiveTicker(min_interval=1, mantissas=[1, 2, 5], num_minor_ticks=0)
    if metric["name"] == "label":
        mapper = LinearColorMapper(palette=list(LABEL_COLOURS.values()), low=-0.5, high=len(LABEL_COLOURS) - 0.5)
    else:
        palette = [*PuOr11] if metric["diverging"] else linear_palette(Cividis256, 64)
        mapper = LinearColorMapper(palette=palette, low=0, high=1)
    mapper.nan_color = "#ffffff"
    mapper.name = f"colours-{metric['name']}"
    for layer, alpha in (("all", 0.18), ("shown", 1.0)):
        source = ColumnDataSource({"image": [], "dw": [], "dh": []}, name=f"{layer}-{metric['name']}")
        plot.image("image", source=source, x=-0.5, y=-0.5, dw="dw", dh="dh", color_mapper=mapper, global_alpha=alpha)
    if metric["name"] != "label":
        bar = plot.renderers[-1].construct_color_bar(width=7, padding=2, major_label_text_font_size="9px")
        bar.name = f"bar-{metric['name']}"
        plot.add_layout(bar, "right")
    plot.add_layout(
        Label(
            x=6, y=60, x_units="screen", y_units="screen", text=NO_VALUES, text_font_size="11px", text_color="#555555",
            visible=False, name=f"none-{metric['name']}",
        )
    )  # fmt: skip
    for source, width in ((picked, 1), (chosen, 2.5)):
        # White on black: seen on every colour.
        for colour, extra in (("white", 2), ("black", 0)):
            plot.rect("layer", "head", 1, 1, source=source, fill_alpha=0, line_color=colour, line_width=width + extra)
    _pointing(plot)
    return plot


def _scatter() -> Any:
    plot = _plot(width=430, height=330, x_axis_label="x", y_axis_label="y", x_range=Range1d(), y_range=Range1d())
    hidden = ColumnDataSource({"x": [], "y": []}, name="points-hidden")
    points = ColumnDataSource({"x": [], "y": []}, name="points")
    chosen = ColumnDataSource({"x": [], "y": []}, name="points-chosen")
    plot.scatter("x", "y", source=hidden, size=4, color="#bbbbbb", alpha=0.35)
    plot.scatter("x", "y", source=points, size=5, color="#0072b2", alpha=0.6)
    plot.scatter("x", "y", source=chosen, size=12, fill_alpha=0, line_color="black", line_width=2.5)
    _pointing(plot)
    return plot


def _curve() -> Any:
    plot = _plot(
        width=430,
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
        plot.line("x", "y", source=source, color=colour, line_dash=dash, line_width=1.6, legend_label=label)
    plot.legend.label_text_font_size = "10px"
    plot.add_layout(plot.legend[0], "above")
    plot.legend.orientation = "horizontal"
    plot.legend.border_line_alpha = 0
    return plot


def _caption(data: Mapping[str, Any], options: Options) -> str:
    labels = ", ".join(model["label"] for model in data["models"])
    sources = "; ".join(f"{group['title']}: {group['data']}" for group in data["groups"] if group["data"])
    text = (
        "Every attention head as one mark in linked maps of all measures, with its numbers in every analysis, its "
        f"{options['relations']} strongest relations, and its attention with and without meaningless tokens (at most "
        f"{options['curves']} heads per model; positions that at least {_reached(data, options)} prompts reach). "
        f"Numbers have float32 precision. Models: {labels}. Data: {sources}."
    )
    lacking = [f"{model['label']}: {', '.join(model['lacking'])}" for model in data["models"] if model["lacking"]]
    return f"{text} Without values, as their maps say: {'; '.join(lacking)}." if lacking else text


def _blank_layers(heads: pd.DataFrame, options: Options) -> list[str]:
    """What is said of models that have layers without attention, by a measure that every head with attention has."""
    measured = [name for analysis in _EVERY_HEAD if analysis in options["datasets"] for name in measures([analysis])]
    said = []
    for model in options["models"]:
        own = heads[heads["model"] == model]
        known = [name for name in measured if name in own and own[name].notna().any()]
        said += blank_layers(own, known[0], {**options, "models": [model]}) if known else []
    return said


def _reached(data: Mapping[str, Any], options: Options) -> str:
    """The least number of prompts behind a position of a curve; lower where no position has as many as asked for."""
    asked = options["min_prompts"]
    reached = {model["key"]: str(model["curves"]["prompts"]) for model in data["models"] if model["curves"]}
    return told(reached, options["model_labels"]) if reached else str(asked)
