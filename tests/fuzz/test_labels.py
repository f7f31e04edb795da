"""Labels and titles with what mathematics, TeX, XML and format strings would make something else of."""

import io
import re
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
from hypothesis import given
from hypothesis import strategies as st

from atlas.plots import style
from atlas.plots.labels import label_problem, plain, title_problem
from hostile import answer, examples, nasty_texts

titles = st.lists(
    st.one_of(
        nasty_texts, st.sampled_from(["{label}", "$x^2$", r"$\alpha_{1}$", "$", r"\$", r"$\frac{1}{2}$", "$x_{$"])
    )
).map("".join)


def drawn(text, place):
    """The texts of the svg of a figure that holds `text`, which is drawn in every format."""
    style.begin()
    figure, axes = plt.subplots(figsize=(2, 1))
    try:
        if place == "title":
            axes.set_title(text)
        else:
            axes.plot([1], [1], label=text)
            axes.legend()
        formats = {}
        for form, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None}), ("png", None)):
            stream = io.BytesIO()
            figure.savefig(stream, format=form, metadata=metadata, dpi=30)
            formats[form] = stream.getvalue()
    finally:
        plt.close(figure)
    assert formats["pdf"].startswith(b"%PDF")
    assert formats["png"].startswith(b"\x89PNG")
    root = ET.fromstring(formats["svg"])
    return ["".join(found.itertext()) for found in root.iter("{http://www.w3.org/2000/svg}text")]


@examples(15, 0.03)
@given(nasty_texts, st.sampled_from(["title", "legend"]))
def test_a_label_is_drawn_as_it_stands_or_refused(label, place):
    if (problem := label_problem(label)) is not None:
        assert problem.isprintable()
        return
    shown = answer(drawn, style.title("{label}", label) if place == "title" else plain(label), place)
    squeezed = ["".join(text.split()) for text in shown]
    assert "".join(label.split()) in squeezed, (label, shown)


@examples(15, 0.03)
@given(titles)
def test_a_title_is_drawn_or_refused(title):
    if (problem := title_problem(title)) is not None:
        assert re.sub(r"[\n]", " ", problem).isprintable()
        return
    try:
        title.format(label="x")
    except (KeyError, IndexError, ValueError, AttributeError):
        return  # the schema holds titles to the names that are filled in
    assert isinstance(answer(drawn, style.title(title, "US$5 {x} $y$"), "title"), list)
