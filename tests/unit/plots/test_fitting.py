"""No text of a figure touches another, with one, three and six models, labels of 60 characters, and 4 to 64 heads."""

import itertools

import matplotlib.pyplot as plt
import pytest

from atlas.analyses.registry import PLOTS
from atlas.plots import style
from atlas.plots.fitting import fit, legend_outside, wrapped
from made_figures import configuration, drawn, figures
from made_tables import LABEL, tables_of

WORD = "organisation/some-very-long-model-name-without-any-blank-v1.5"
LABELS = [LABEL, WORD, "Qwen2.5-0.5B-Instruct dequantised from Q4_K_M to float32 ab", "m", "Llama 3.2 1B", LABEL[::-1]]
NARROW = "figures: {safety_effect: {width: 4.5}}"
# number of models, layers, heads
SIZES = {"one": (1, 6, 4), "three": (3, 12, 64), "six": (6, 30, 9)}
DRAWN = sorted(plot for plot, record in PLOTS.items() if not record.page)


@pytest.fixture(autouse=True)
def closed():
    """matplotlib keeps every figure until it is closed."""
    yield
    plt.close("all")


@pytest.fixture(scope="module", params=["one", pytest.param("three", marks=pytest.mark.long), "six"])
def made(request):
    models, layers, heads = SIZES[request.param]
    config = configuration(LABELS[:models], NARROW if models == 1 else "{}")
    return figures(config), *tables_of(config, layers, heads)


def written(figure):
    """[(text, its place in pixels)] of everything that can be read in a figure."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    found = []
    for axes in figure.axes:
        if not axes.get_visible() or not axes.axison:
            continue
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            place = 0 if axis is axes.xaxis else 1
            found += [label for label in axis.get_ticklabels() if low <= label.get_position()[place] <= high]
        if axes.get_legend():
            found += [*axes.get_legend().get_texts(), axes.get_legend().get_title()]
    for legend in figure.legends:
        found += legend.get_texts()
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found if t.get_visible() and t.get_text().strip()]


def collisions(figure, slack=1.0):
    """Pairs of texts whose places overlap by more than `slack` pixels in both directions."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(written(figure), 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack
    ]


@pytest.mark.parametrize("plot", DRAWN)
def test_texts_do_not_touch_and_labels_keep_to_their_panel(made, plot):
    every, tables, documents = made
    figure, _ = drawn(*every[plot], tables, documents)
    assert collisions(figure) == []
    renderer = figure.canvas.get_renderer()
    box = figure.get_tightbbox(renderer)
    assert box.width <= 1.06 * every[plot][1]["width"], "nothing makes the figure wider than its option"
    for axes in figure.axes:
        label = axes.yaxis.label.get_window_extent(renderer)
        assert label.height <= 1.13 * axes.get_window_extent().height + 1, axes.get_ylabel()
        width, height = axes.get_window_extent().size
        assert min(width, height) > 20 or hasattr(axes, "_colorbar"), "a panel has room for its data"


def panels(titles, **options):
    style.begin()
    figure, grid = plt.subplots(1, len(titles), figsize=(7, 2), layout="constrained", squeeze=False)
    for axes, title in zip(grid.flat, titles, strict=True):
        axes.set_title(title)
        axes.set(**options)
    return figure


def test_what_has_room_stays_as_it_is():
    figure = panels(["one", "two"], xlabel="x", ylabel="y")
    before = [text for text, _ in written(figure)]
    size = tuple(figure.get_size_inches())
    fit(figure)
    assert [text for text, _ in written(figure)] == before
    assert tuple(figure.get_size_inches()) == size


def test_long_titles_touch_without_fitting():
    figure = panels([LABEL[:49]] * 3)
    assert collisions(figure)
    height = figure.get_size_inches()[1]
    fit(figure)
    assert collisions(figure) == []
    assert figure.get_size_inches()[1] > height, "panels keep their size"
    assert "".join(figure.axes[0].get_title().split()) == "".join(LABEL[:49].split())


def test_ticks_that_run_together_are_thinned():
    figure = panels(["one"] * 6, xlim=(0, 5000), xticks=range(0, 5001, 500))
    figure.axes[1].set_xticks([0, 100, 200, 2000, 2100, 5000])
    figure.axes[2].set_xticks([0, 2500, 5000], ["the first", "the second", "the third"])
    assert collisions(figure)
    fit(figure)
    assert collisions(figure) == []
    shown = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert len(figure.axes[1].get_xticks()) == 6, "what was measured keeps its mark"
    assert shown[0] == "0"
    assert "" in shown
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == ["the first", "the second", "the third"]


def test_a_legend_takes_the_columns_that_fit():
    figure = panels(["one"])
    lines = [plt.Line2D([], []) for _ in range(4)]
    legend = legend_outside(figure, lines, [LABEL] * 4, ncols=4)
    assert legend.get_window_extent(figure.canvas.get_renderer()).width <= figure.bbox.width
    assert legend._ncols == 1
    assert legend_outside(figure, lines, list("abcd"), ncols=4)._ncols == 4


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one", 2, ["on", "e"]),
        ("a/bcd-efg", 5, ["a/", "bcd-", "efg"]),
        ("of $a b c$ here", 6, ["of", "$a b c$", "here"]),
        (r"cost \$5 now", 5, ["cost", r"\$5", "now"]),
        ("Q4_K_M x", 6, ["Q4_K_M", "x"]),
        ("", 3, [""]),
    ],
)
def test_lines_end_behind_blanks_then_signs_then_letters(text, width, lines):
    assert wrapped(text, width, lambda part: len(part.replace("\\", ""))).split("\n") == lines
