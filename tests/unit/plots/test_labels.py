"""Labels in figures: what the font cannot draw is refused, and what it can is drawn as it is written."""

import re
import warnings
from html import unescape
from io import BytesIO, StringIO
from types import SimpleNamespace

import jinja2
import matplotlib
import matplotlib.pyplot as plt
import pytest
from docutils.core import publish_parts

from atlas.analyses.registry import PLOT_FOLDERS, PLOTS
from atlas.plots import style
from atlas.plots.labels import LONGEST, label_problem, plain, title_problem
from places import ROOT

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


def test_a_caption_is_plain_text_in_the_report(tmp_path):
    path = tmp_path / "caption.txt"
    caption = r"Models: big_, *new*, `x`, |y|, a\b, <b>, probe_bce, $S_{E_Q}$."
    path.write_text(caption)
    template = jinja2.Template((ROOT / "report" / "figure.rst").read_text())
    written = template.render(snakemake=SimpleNamespace(params=SimpleNamespace(caption=path)))
    body = publish_parts(written, writer="html", settings_overrides={"report_level": 5})["body"]
    assert unescape(re.sub(r"<[^>]+>", "", body)).strip() == caption
