"""The page about a whole run: models, data, claims, figures with captions, options; and as the report's first page."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment

from atlas.analyses.overview import Drawn, Run, page
from made_figures import configuration
from made_tables import tables_of
from places import ROOT

pytestmark = pytest.mark.slow

NASTY = '<!--<script></script> "quoted" & שלום 🙂 {{ config }} | *bold*_'
DIGEST = "ab" * 32
PICTURE = bytes(range(256)) * 90  # as large as a small figure: its text has more letters than a line may have


class Reader(HTMLParser):
    """The texts of a page by element, and the sources of its pictures."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.pictures, self.tags, self.open = {}, [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        elif tag not in ("meta", "br"):
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        for tag in dict.fromkeys(self.open):
            self.texts[tag][-1] += data


@pytest.fixture
def run(tmp_path):
    picture = tmp_path / "sink_rates.png"
    picture.write_bytes(PICTURE)
    claims = tables_of(configuration(["Alpha", "Beta"], "{}"))[0]["claims"]
    hub = {"hub": {"repo": "someone/model", "revision": "0123abc"}}
    record = {"parameters": 1234567, "dtype": "float32", "weights_sha256": DIGEST}
    rows = {"rows_used": 20, "rows_in_file": 21, "dropped": {"too long": 1}, "files": {"a.txt": "cd" * 32}}
    control = {"control": {"kind": "shuffled", "of": "m0", "seed": 0}}
    return Run(
        {
            "m0": {"label": "Alpha", "record": {**record, "source": hub, "notes": []}},
            "m1": {"label": NASTY, "record": {**record, "source": control, "notes": [NASTY]}},
        },
        {"text": {"label": NASTY, "kind": "text", "source": {"path": NASTY}, "record": {"dataset": rows}}},
        {"sinks": {"epsilon": 0.3, "system": NASTY}},
        [
            Drawn("sink_rates", "Attention sinks", picture, f"24 sequences of {NASTY}."),
            Drawn("explorer", NASTY, None, "Every attention head."),
        ],
        claims,
        {"numpy": "2.4.6", "torch": None},
    )


def check(text, run):
    """What must stand on the page, wherever it is shown."""
    read = Reader(text)
    assert "script" not in read.tags
    cells = [text.strip() for text in read.texts["td"] + read.texts["th"]]
    for wanted in (
        "Alpha",
        NASTY,
        "hub: repo someone/model, revision 0123abc",
        "control: kind shuffled, of m0, seed 0",
    ):
        assert wanted in cells
    for wanted in ("1,234,567", DIGEST, f"path: {NASTY}", "20 of 21", "1: too long", f"a.txt {'cd' * 32}", "2.4.6"):
        assert wanted in cells
    assert "not installed" in cells
    captions = [text.strip() for text in read.texts["figcaption"]]
    assert captions == [f"24 sequences of {NASTY}.", "Every attention head."]
    assert NASTY in read.texts["h3"]
    decided = run.claims[run.claims["decides"]]
    for verdict in decided["claim_verdict"].unique():
        assert any(verdict in cell for cell in cells)
    assert set(decided["claim"]) <= set(cells)
    (picture,) = read.pictures
    assert base64.b64decode("".join(picture.removeprefix("data:image/png;base64,").split())) == PICTURE
    assert any("epsilon: 0.3" in text and NASTY in text for text in read.texts["pre"])


def test_page_says_what_was_run_on_what_and_what_came_out(run):
    check(page(run), run)


def test_sources_are_told_with_their_mirrors_and_without_their_secrets(run):
    entry = next(iter(run.datasets.values()))
    mirrors = [{"url": {"url": "https://me:secret@a.b/x.txt?token=zzz9", "sha256": DIGEST}}, {"path": "mine.txt"}]
    text = page(run._replace(datasets={"text": {**entry, "source": mirrors}}))
    assert f"url: url https://a.b/x.txt, sha256 {DIGEST}, or path: mine.txt" in Reader(text).texts["td"]
    assert "secret" not in text
    assert "zzz9" not in text


def test_without_claims_there_is_no_word_of_them(run):
    assert "claim" not in page(run._replace(claims=None)).lower()


def first_page(files):
    """report/workflow.rst as Snakemake shows it, in its own way: jinja, then reStructuredText."""
    text = (ROOT / "report" / "workflow.rst").read_text(encoding="utf-8")
    given = Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(files=files, categories={})
    return publish_parts(given, writer="html", settings_overrides={"halt_level": 2})["html_body"]


def test_page_is_the_first_one_of_the_report(run, tmp_path):
    path = tmp_path / "overview.html"
    path.write_text(page(run), encoding="utf-8")
    others = SimpleNamespace(path=Path("figures/sink_rates.png"), target="sink_rates.png")
    shown = first_page([others, SimpleNamespace(path=path, target="overview.html")])
    check(shown, run)
    assert "<body" not in shown
    assert "#overview" in shown  # with its own style


def test_a_report_without_the_page_says_how_to_get_it():
    assert "snakemake overview" in Reader(first_page([])).texts["p"][0] + "".join(Reader(first_page([])).texts["tt"])
