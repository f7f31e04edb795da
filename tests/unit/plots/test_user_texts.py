"""What users write (labels, names of relations, ids of prompts) is in every figure, page and caption as it stands."""

import html
import io
import json
import xml.etree.ElementTree as ET

import matplotlib
import matplotlib.pyplot as plt
import pytest

from atlas.analyses.registry import PLOTS
from atlas.config.figures import figure_problems
from atlas.data.checks import MEAN
from atlas.errors import AtlasError
from atlas.plots import style
from made_figures import configuration, drawn, figures
from made_tables import tables_of

NASTY = r"""US$5_{$ <!--<script>x</script> {0} %s \N{x} # &"a" ']]> `c`_ *d* |e|"""
MODELS = [f"{number} {NASTY}" for number in range(2)]


def written(text):
    """A text as a user might have written it; what our own rows are called stays."""
    return text if text == MEAN else f"{text} {NASTY}"


@pytest.fixture(scope="module")
def made():
    """The tables of a run with such a text wherever one can stand."""
    config = configuration(MODELS, "analyses: {head_categories: {permutations: 100}}")
    for number, entry in enumerate(config["datasets"].values()):
        entry["label"] = f"data {number} {NASTY}"
    tables, documents = tables_of(config)
    for name, frame in tables.items():
        for column in {"relation", "tasks", "query"} & set(frame.columns):
            frame = frame.assign(**{column: frame[column].map(written, na_action="ignore")})
        tables[name] = frame
    return config, tables, documents


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words_of(figure):
    """The texts of the svg of a figure, without white space, which lines may be broken at."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    root = ET.fromstring(stream.getvalue())
    return "".join("".join("".join(text.itertext()).split()) for text in root.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("name", [name for name in PLOTS if not PLOTS[name].page])
def test_a_figure_shows_them_as_they_stand(made, name):
    config, tables, documents = made
    plot, options = figures(config)[name]
    figure, caption = drawn(plot, options, tables, documents)
    shown, nasty = words_of(figure), "".join(NASTY.split())
    assert shown.count("US$5") == shown.count(nasty), "one of them was changed"
    assert "".join(caption.split()).count("US$5") == "".join(caption.split()).count(nasty)
    if name in ("relation_effect", "relation_map", "sink_rates", "head_types"):
        assert nasty in shown


def test_the_explorer_holds_them_as_they_stand(made):
    config, tables, documents = made
    plot, options = figures(config)["explorer"]
    page, caption = drawn(plot, {**options, "claims": True}, tables, documents)
    data = json.loads(page.split('<script id="atlas-data" type="application/json">')[1].split("</script>")[0])
    assert [model["label"] for model in data["models"]] == MODELS
    assert data["relations"]
    assert all(name.endswith(NASTY) for name in data["relations"])
    assert all(group["data"].endswith(NASTY) for group in data["groups"] if group["data"])
    assert "<!--<script>" not in page
    assert html.escape(MODELS[0]) in page  # the claims are part of the page itself
    assert all(label in caption for label in MODELS)


def test_signs_that_the_font_lacks_are_refused_in_names_of_relations_too(tmp_path):
    style.begin()
    figure, axes = plt.subplots()
    axes.set_yticks([0], ["国 (2 heads)"])
    with pytest.raises(AtlasError, match=r"a text of the figure, '国 \(2 heads\)', holds '国', for which the font"):
        style.save(figure, "caption", {"pdf": tmp_path / "a.pdf"})
    assert list(tmp_path.iterdir()) == []


def test_the_label_of_a_colour_bar_is_held_to_what_titles_are():
    config = configuration(["A"], "{}")
    figure = config["figures"]["safety_heads"] | {"bar_label": "$x_{$"}
    (said,) = figure_problems("safety_heads", figure, config, ())
    assert said.startswith("figures.safety_heads.bar_label: '$x_{$' holds mathematics that cannot be drawn")
    assert matplotlib.rcParams["text.parse_math"]
