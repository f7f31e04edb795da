"""Labels in figures: what the font cannot draw is refused, and what it can is drawn as it is written."""

import re
import warnings
from html import unescape
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace

import jinja2
import matplotlib
import matplotlib.pyplot as plt
import pytest
from docutils.core import publish_parts
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager, get_font

from atlas.analyses.registry import PLOT_FOLDERS, PLOTS
from atlas.plots import style
from atlas.plots.labels import LONGEST, font_problem, label_problem, plain, title_problem
from places import ROOT


class Output(dict):
    __getattr__ = dict.__getitem__


# What mathematics, TeX, HTML and format strings would make something else of.
HOSTILE = [
    "$x$",
    "a_b",
    "100 %",
    r"\alpha",
    "$",
    "$a$ and $b$",
    r"\$5",
    "x^2",
    "{label}",
    "<b>&amp;",
    "Größe (α)",
    "#1",
]


@pytest.fixture(autouse=True)
def closed():
    """matplotlib keeps every figure until it is closed."""
    yield
    plt.close("all")


def texts(figure):
    """The texts of an svg of the figure."""
    drawn = StringIO()
    figure.savefig(drawn, format="svg")
    found = re.findall(r"<text[^>]*>(.*?)</text>", drawn.getvalue(), re.DOTALL)
    return [unescape(re.sub(r"</?tspan[^>]*>", "", text)).strip() for text in found]


@pytest.mark.parametrize("label", HOSTILE)
def test_a_label_is_drawn_as_it_is_written(label):
    assert label_problem(label) is None
    style.begin()
    figure, axes = plt.subplots()
    axes.plot([1], [1], label=plain(label))
    axes.set_title(style.title("{label}", label))
    axes.set_xlabel(style.title(r"$\alpha$ of {label}", label))
    axes.legend()
    shown = texts(figure)
    assert shown.count(label) == 2
    beside_mathematics = ["".join(text.split()) for text in shown if text.startswith("\u03b1")]  # a sign by itself each
    assert beside_mathematics == ["".join(f"\u03b1of{label}".split())]


@pytest.mark.parametrize("plot", PLOTS)
def test_every_title_takes_its_label_through_one_place(plot):
    source = (ROOT / "scripts" / "atlas" / "analyses" / PLOT_FOLDERS[plot] / f"plot_{plot}.py").read_text()
    assert ".format(label=" not in source


def font(path, name, letters):
    """A font file with a square for each of `letters`, with outlines as its suffix says."""
    outlines = path.suffix == ".ttf"
    builder = FontBuilder(1000, isTTF=outlines)
    glyphs = [".notdef", *(f"g{ord(letter)}" for letter in letters)]
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord(letter): f"g{ord(letter)}" for letter in letters})
    shapes = {}
    for glyph in glyphs:
        pen = TTGlyphPen(None) if outlines else T2CharStringPen(600, None)
        pen.moveTo((0, 0))
        for corner in ((0, 500), (500, 500), (500, 0)):
            pen.lineTo(corner)
        pen.closePath()
        shapes[glyph] = pen.glyph() if outlines else pen.getCharString()
    builder.setupGlyf(shapes) if outlines else builder.setupCFF(name, {}, shapes, {})
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "psName": name})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.mark.parametrize("suffix", ["ttf", "otf"])
def test_a_font_that_is_handed_in_draws_what_is_missing(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(style, "_added", {})
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist])
    file = font(tmp_path / f"mine.{suffix}", f"Mine{suffix}", "通义")
    label = "Qwen 通义 $5$"
    assert "DejaVu Sans" in label_problem(label)
    assert label_problem(label, (file,)) is title_problem(label, (file,)) is None
    assert "mine." in label_problem("千", (file,))
    style.add_fonts([file])
    style.begin()
    assert matplotlib.rcParams["font.family"][:2] == ["DejaVu Sans", f"Mine{suffix}"]
    figure, axes = plt.subplots()
    axes.set_title(style.title("{label}", label))
    output = {name: tmp_path / f"x.{name}" for name in ("pdf", "svg", "png")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each character that it draws as a box
        style.save(figure, "caption", Output(output, caption=tmp_path / "x.txt"))
    assert f"Mine{suffix}".encode() in output["pdf"].read_bytes()
    assert label in output["svg"].read_text()


def test_the_font_has_all_of_latin_1():
    """Which is not looked up."""
    known = get_font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")).get_charmap()
    assert set(range(0xA0, 0x100)) <= set(known)


def test_what_is_no_font_is_refused(tmp_path):
    (tmp_path / "no.ttf").write_text("no font")
    assert "cannot be read as a font" in font_problem(tmp_path / "no.ttf")
    assert "does not exist" in font_problem(tmp_path / "nowhere.ttf")


@pytest.mark.parametrize("text", ["通义", "हिन्दी", "ไทย", "🍎", "a\u0b85"])
def test_a_label_that_would_be_boxes_is_refused(text):
    assert "DejaVu Sans" in label_problem(text)
    assert "DejaVu Sans" in title_problem(f"{text} {{label}}")


def test_what_is_accepted_is_drawn_without_a_missing_glyph():
    style.begin()
    accepted = [chr(code) for code in range(0x20, 0x3000) if label_problem(f"a{chr(code)}b") is None]
    assert len(accepted) > 3000
    figure = plt.figure()
    for begin in range(0, len(accepted), 70):
        figure.text(0, 0, plain("".join(accepted[begin : begin + 70])), parse_math=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each character that it draws as a box
        figure.savefig(BytesIO(), format="png")


@pytest.mark.parametrize(
    "title", ["{label}", "{label}\nLayer {layer}", r"$\alpha_0$ of {label}", "5 $ {label}", r"\$x\$ {label}"]
)
def test_titles_that_can_be_drawn(title):
    assert title_problem(title) is None


def test_the_longest_label_is_accepted():
    assert label_problem("x" * LONGEST) is None
    assert label_problem("x" * (LONGEST + 1)) is not None


def test_the_look_is_that_of_the_project_whatever_a_machine_has_set():
    with matplotlib.rc_context({"lines.linestyle": "--", "font.family": ["serif"], "text.parse_math": False}):
        style.begin()
        assert matplotlib.rcParams["lines.linestyle"] == "-"
        assert matplotlib.rcParams["font.family"][0] == "DejaVu Sans"
        assert matplotlib.rcParams["text.parse_math"]


def test_files_are_in_utf_8_whatever_the_locale():
    """Python writes in the encoding of the locale where none is named."""
    files = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "rules").glob("*.smk"), *(ROOT / "report").glob("*.rst")]
    for file in files:
        for call in re.findall(r"\.(?:read|write)_text\([^\n]*", file.read_text(encoding="utf-8")):
            assert "encoding" in call or call.endswith("("), f"{file.name}: {call}"


CAPTIONS = [
    r"Models: big_, *new*, `x`, |y|, a\b, <b>, probe_bce, $S_{E_Q}$.",
    ".. include:: /etc/hostname",  # as the label of a model that a caption begins with
    ".. raw:: html",
    "Literal::",
    ":math:`x` and [1]_ and __ and https://a.b/c_d ... n = 3..5",
    "1. Llama",
    "- x",
    "===== 7B",
    "Tiny_: 1 of 2; Tiny__ and |Tiny|_",
    # line breaks of every kind, behind which a list, a heading, a directive or a quotation would begin
    "the prompt a\n\n.. include:: /etc/hostname\n\nmost",
    "x\n====\n- y\r1. z\x85:field: u\u2028>>> v\n\n    code",
]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_caption_is_plain_text_in_the_report(tmp_path, caption):
    path = tmp_path / "caption.txt"
    path.write_text(caption, encoding="utf-8", newline="")
    template = jinja2.Template((ROOT / "report" / "figure.rst").read_text())
    written = template.render(snakemake=SimpleNamespace(params=SimpleNamespace(caption=path)))
    body = publish_parts(written, writer="html", settings_overrides={"report_level": 5})["body"]
    assert unescape(re.sub(r"<[^>]+>", "", body)).strip() == " ".join(caption.split())
