"""One page with every head of every model as a mark in linked maps; it needs no network.

Bokeh draws (its script is written into the page); page/ holds the page itself. Its bytes depend on its data alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from bokeh.resources import INLINE

from atlas.analyses.heads.claims_section import claims_section
from atlas.analyses.heads.explorer_data import every_head, page_data
from atlas.analyses.heads.explorer_plots import LABEL_COLOURS, document
from atlas.analyses.heads.page_files import SCRIPTS
from atlas.plots.captions import blank_layers, told
from atlas.results.files import replacing

if TYPE_CHECKING:
    import pandas as pd

    from atlas.plots.types import Options, Sources, Tables

PAGE = Path(__file__).parent / "page"


def draw(tables: Tables, options: Options, sources: Sources) -> tuple[str, str]:
    """(html, caption) of the explorer; tables and options as of explorer_data.page_data."""
    data = page_data(tables, options)
    drawn, places = document(data["metrics"])
    values = {
        "style": (PAGE / "explorer.css").read_text(encoding="utf-8"),
        "bokeh": INLINE.js_raw[0],
        "claims": claims_section(
            tables.get("claims") if options["claims"] else None,
            {model["key"]: model["label"] for model in data["models"]},
        ),
        "data": _json({**data, "colours": list(LABEL_COLOURS.values()), "places": places}),
        "document": _stable_ids(_json(drawn)),
        "script": "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS),
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
    said = []
    for model in options["models"]:
        own = heads[heads["model"] == model]
        if column := every_head(own, options["datasets"]):
            said += blank_layers(own, column, {**options, "models": [model]})
    return said


def _reached(data: Mapping[str, Any], options: Options) -> str:
    """The least number of prompts behind a position of a curve; lower where no position has as many as asked for."""
    asked = options["min_prompts"]
    reached = {model["key"]: str(model["curves"]["prompts"]) for model in data["models"] if model["curves"]}
    return told(reached, options["model_labels"]) if reached else str(asked)
