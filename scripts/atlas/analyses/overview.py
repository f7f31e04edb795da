"""One page that says what was run and on what, what the sources claim of it, and shows every figure with its caption.

It is the first page of Snakemake's report, and stands by itself as results/overview.html: no network, no script.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from atlas.analyses.heads.claims_section import claims_section
from atlas.fetch.entries import describe_source

if TYPE_CHECKING:
    import pandas as pd

_STYLE = """<style>
#overview { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; overflow-wrap: anywhere; }
#overview table { border-collapse: collapse; font-size: .85rem; }
#overview .wide { overflow-x: auto; }
#overview th, #overview td {
  padding: .15rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; overflow-wrap: normal;
}
#overview code { font-size: .85em; font-weight: normal; word-break: break-all; }
#overview figure { margin: 1rem 0 2rem; }
#overview img { max-width: 100%; height: auto; }
#overview pre { white-space: pre-wrap; background: #f4f4f4; color: #1a1a1a; padding: .5rem; }
#overview summary { cursor: pointer; }
/* Inside Snakemake's report, which centres what it shows, with a narrow column for a description beside the graph of
rules: the beginning of a long one would lie above the screen. */
#overview code::before, #overview code::after { content: none; }
.h-screen:has(#overview) { align-items: flex-start; justify-content: flex-start; min-width: 0; }
.gap-3:has(#overview) { flex-direction: column; min-width: 0; }
.gap-3 > :has(#overview), .prose:has(#overview) { max-width: min(60rem, 100%); min-width: 0; }
</style>"""


class Drawn(NamedTuple):
    """A figure: its name, its heading, its picture (None: a page of its own) and its caption."""

    name: str
    category: str
    picture: Path | None
    caption: str


class Run(NamedTuple):
    """What the page tells of a run.

    models: {key: {"label", "record"}}, record: what stands in the model's provenance.json. datasets: {key: {"label",
    "kind", "source", "record"}}, source: its entry, or a list of mirrors, record: the provenance of its rows. analyses:
    {name: its options}. claims: the table, or None where claims are switched off. versions: {package: version}.
    """

    models: Mapping[str, Mapping[str, Any]]
    datasets: Mapping[str, Mapping[str, Any]]
    analyses: Mapping[str, Any]
    figures: Sequence[Drawn]
    claims: pd.DataFrame | None
    versions: Mapping[str, str | None]


def page(run: Run) -> str:
    """The whole page; its body is `div#overview`. No line is long (a reader of reStructuredText bounds them)."""
    parts = [_STYLE, '<div id="overview">', *_sections(run), "</div>"]
    body = "\n".join(part.replace("><", ">\n<") for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>LLM Internals Atlas: what was run</title>\n"
        "<style>body { margin: 0 auto; max-width: 60rem; padding: 0 .6rem 2rem; }</style>\n</head>\n<body>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _sections(run: Run) -> Iterator[str]:
    yield "<h1>LLM Internals Atlas: what was run</h1>"
    yield (
        f"<p>Analyses: {escape(', '.join(run.analyses))}. Models: {len(run.models)}. Data sets: {len(run.datasets)}. "
        f"Figures: {len(run.figures)}.</p>"
    )
    yield "<h2>Models</h2>" + _table(
        ("model", "key", "source", "parameters", "dtype", "sha256 of the weights", "notes"),
        [_model(key, **told) for key, told in run.models.items()],
        "Models",
    )
    yield "<h2>Data</h2>" + _table(
        ("data set", "key", "kind", "source", "rows used", "left out", "sha256 of the files"),
        [_dataset(key, **told) for key, told in run.datasets.items()],
        "Data",
    )
    yield claims_section(run.claims, {key: told["label"] for key, told in run.models.items()})
    yield "<h2>Figures</h2>"
    for category in dict.fromkeys(figure.category for figure in run.figures):
        yield f"<h3>{escape(category)}</h3>"
        yield from (_figure(figure) for figure in run.figures if figure.category == category)
    yield "<h2>Options</h2>"
    for name, block in run.analyses.items():
        yield f"<details><summary>{escape(name)}</summary><pre>{escape(_yaml(block))}</pre></details>"
    yield "<h2>Versions</h2>" + _table(
        ("package", "version"),
        [(name, version or "not installed") for name, version in run.versions.items()],
        "Versions",
    )


def _model(key: str, label: str, record: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        label,
        key,
        _source(record["source"]),
        f"{record['parameters']:,}",
        record["dtype"],
        record["weights_sha256"],
        "; ".join(record["notes"]),
    )


def _dataset(key: str, label: str, kind: str, source: Any, record: Mapping[str, Any]) -> tuple[str, ...]:
    rows = record["dataset"]
    return (
        label,
        key,
        kind,
        _source(source),
        f"{rows['rows_used']:,} of {rows['rows_in_file']:,}",
        ", ".join(f"{count}: {reason}" for reason, count in rows["dropped"].items()),
        "; ".join(f"{name} {digest}" for name, digest in rows["files"].items()),
    )


def _source(source: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """A source of the configuration in words: `hub: repo EleutherAI/pythia-160m, revision 50f5173d...`.

    Of mirrors each, in their order. Without what may be secret in an address.
    """
    if not isinstance(source, Mapping):
        return ", or ".join(_source(mirror) for mirror in source)
    found = []
    for kind, told in describe_source(dict(source)).items():
        inner = ", ".join(f"{key} {value}" for key, value in told.items()) if isinstance(told, Mapping) else str(told)
        found.append(f"{kind}: {inner}")
    return "; ".join(found)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(
        f'<tr><th scope="row" dir="auto">{escape(first)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(name)}, scrolls sideways">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """Its text, with digests as code, which may be broken anywhere."""
    return re.sub(r"\b[0-9a-f]{64}\b", r"<code>\g<0></code>", escape(text))


def _figure(figure: Drawn) -> str:
    title = f"<h4>{escape(figure.name)}</h4>"
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>"
    if figure.picture is None:
        return f"<figure>{title}<p>A page of its own: {escape(figure.name)}.html.</p>{caption}</figure>"
    data = base64.encodebytes(figure.picture.read_bytes()).decode()
    picture = f'<img alt="Figure {escape(figure.name)}; its caption follows" src="data:image/png;base64,{data}">'
    return f"<figure>{title}{picture}{caption}</figure>"


def _yaml(block: Any) -> str:
    return yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=100)
