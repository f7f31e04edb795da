"""configs/paper.yaml draws the sources' five figures: panels in their order, titles, labels, legends, ticks, ranges.

What is expected is written down from the published figures, in the words of a reader who has the page beside him.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv, to_rgb

from configurations import check, overlaid
from made_figures import drawn, figures
from paper_tables import paper_tables
from places import ROOT

PAPER = overlaid(ROOT / "configs" / "paper.yaml", "allow_unpinned: true")


@pytest.fixture(scope="module")
def paper():
    """(options of each figure, tables, their documents) of models in their published shapes."""
    config = check("{}", PAPER)
    return figures(config), *paper_tables(config)


@pytest.fixture
def figure(paper):
    """A function that draws a figure by its key."""
    yield lambda key: drawn(*paper[0][key], *paper[1:])[0]
    plt.close("all")


def panels(figure):
    """Axes in reading order: rows from the top, each from the left. Colour bars are none."""
    figure.draw_without_rendering()
    axes = [one for one in figure.axes if one.axison and not hasattr(one, "_colorbar")]
    return sorted(axes, key=lambda one: (-round(one.get_position().y1, 2), one.get_position().x0))


def rows(axes):
    """How many panels stand in each row."""
    heights = [round(one.get_position().y1, 2) for one in axes]
    return [heights.count(height) for height in dict.fromkeys(heights)]


def titles(axes):
    return [one.get_title() for one in axes]


def ticks(axes, name):
    """The ticks of an axis that are within its range and have a label."""
    axis = getattr(axes, f"{name}axis")
    low, high = axis.get_view_interval()
    labels = axis.get_ticklabels()
    return [round(x, 6) for x, label in zip(axis.get_ticklocs(), labels, strict=True)
            if low - 1e-9 <= x <= high + 1e-9 and label.get_text()]  # fmt: skip


def legend(owner):
    return [text.get_text() for text in owner.get_texts()]


def labels(axes):
    return {one.get_xlabel() for one in axes}, {" ".join(one.get_ylabel().split()) for one in axes}


def hue(colour):
    """The plain name of a colour by its hue, light or dark; the palette's red is vermilion."""
    degrees, saturation, _ = rgb_to_hsv(to_rgb(colour)) * (360, 1, 1)
    names = {27.5: "red", 60: "orange", 175: "green", 260: "blue", 360: "red"}
    return "grey" if saturation < 0.1 else next(name for end, name in names.items() if degrees <= end)


def test_a_saliency_density(figure):
    drawn = figure("saliency_density")
    axes = panels(drawn)
    assert rows(axes) == [2]
    assert titles(axes) == ["Llama-3-8B", "Llama-3-70B"]
    assert labels(axes) == ({"Saliency Score"}, {"Density"})
    assert [one.get_xlim() for one in axes] == [(0, 1.5), (0, 0.2)]
    assert [one.get_ylim() for one in axes] == [(0, 0.75), (0, 4)]
    assert [ticks(one, "x") for one in axes] == [[0, 0.5, 1, 1.5], [0, 0.1, 0.2]]
    assert [ticks(one, "y") for one in axes] == [[0, 0.25, 0.5, 0.75], [0, 2, 4]]
    (below,) = drawn.legends
    answer, everything = r"$S_{E_Q \rightarrow E_A}$", r"$S_{E_Q \rightarrow *}$"
    expected = [f"{flow} ({data})" for data in ("TriviaQA", "NQ") for flow in (answer, everything)]
    assert legend(below) == expected
    box, whole = below.get_window_extent(), drawn.bbox
    assert abs((box.x0 + box.x1) / 2 - whole.width / 2) < 0.02 * whole.width
    assert box.y1 < axes[0].get_window_extent().y0
    colours = [patch.get_edgecolor() for patch in below.get_patches()]
    assert [hue(colour) for colour in colours] == ["blue", "orange", "green", "red"]
    assert all(min(colour[:3]) > 0.3 for colour in colours)  # light ones


def test_b_mink_depth(figure):
    axes = panels(figure("mink_depth"))
    assert rows(axes) == [4, 3]
    assert titles(axes) == [
        "(a) LLaMA 2 7B Chat", "(b) LLaMA 2 70B Chat", "(c) LLaMA 3 8B Instruct", "(d) LLaMA 3 70B Instruct",
        "(e) LLaMA 2 7B Chat", "(f) LLaMA 2 70B Chat", "(g) LLaMA 3 70B Instruct",
    ]  # fmt: skip
    boxes, densities = axes[:4], axes[4:]
    assert labels(boxes) == ({""}, {"Depthwise Average MIN-K%"})
    assert {one.get_ylim() for one in boxes} == {(0, 8)}
    for one in boxes:
        assert ticks(one, "y") == [0, 2, 4, 6, 8]
        assert [label.get_text() for label in one.get_xticklabels()] == ["Depth 1", "Depth 2", "Depth 3"]
        assert [hue(patch.get_facecolor()) for patch in one.patches] == ["blue", "orange", "green"]
    assert labels(densities) == ({"Score Gap (D3 - D2)"}, {"Density"})
    assert [one.get_ylim() for one in densities] == [(0, 0.8), (0, 1.25), (0, 3)]
    for one in densities:
        assert one.get_xlim() == (-1.5, 1.5)
        assert ticks(one, "x") == [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]
        assert legend(one.get_legend()) == ["25%", "75%"]
        assert [hue(patch.get_edgecolor()) for patch in one.get_legend().get_patches()] == ["green", "orange"]
        assert one.get_legend()._loc == 1  # upper right
    # Each row is as wide as the figure.
    ends = [(row[0].get_position().x0, row[-1].get_position().x1) for row in (boxes, densities)]
    assert np.allclose(*ends, atol=0.02)


def test_c_head_categories(figure):
    drawn = figure("head_categories")
    axes = panels(drawn)
    assert rows(axes) == [2, 2]
    assert titles(axes) == ["GPT-2 XL", "Phi-2", "Pythia 12B", "Llama-3.1 70B"]
    assert labels(axes) == ({"Layer"}, {"Head"})
    assert [(ticks(one, "x")[0], ticks(one, "x")[-1]) for one in axes] == [(0, 45), (0, 30), (0, 35), (0, 64)]
    assert [(ticks(one, "y")[0], ticks(one, "y")[-1]) for one in axes] == [(0, 20), (0, 30), (0, 32), (0, 60)]
    for one, shape in zip(axes, [(48, 25), (32, 32), (36, 40), (80, 64)], strict=True):
        marks = np.concatenate([collection.get_offsets() for collection in one.collections])
        assert len(marks) == len(np.unique(marks, axis=0)) == shape[0] * shape[1]  # one mark per head
        assert marks.max(axis=0).tolist() == [shape[0] - 1, shape[1] - 1]
        assert one.get_xlim()[1] > shape[0] - 1  # the axis goes on behind its last tick
        assert one.get_ylim()[1] > shape[1] - 1
    (below,) = drawn.legends
    names = ["Unclassified", "Algorithmic", "Knowledge", "Linguistic", "Translation"]
    assert legend(below) == [*names, "2 categories", "3 categories", "4 categories"]
    colours = [handle.get_color() for handle in below.legend_handles]
    assert [hue(one) for one in colours[:5]] == ["grey", "blue", "orange", "green", "red"]
    purples = [np.sum(to_rgb(one)) for one in colours[5:]]
    assert purples == sorted(purples, reverse=True)  # light to dark


def test_d_attention_sinks(figure):
    axes = panels(figure("attention_sinks"))
    assert rows(axes) == [3, 3]
    assert titles(axes) == [f"Llama3.1-8B-Instruct Layer 1 Head {head}" for head in (20, 25, 26)] * 2
    top, bottom = axes[:3], axes[3:]
    assert {" ".join(row[0].get_ylabel().split()) for row in (top, bottom)} == {"Average Attention Weight"}
    assert {one.get_xlim() for one in top} == {(0, 60)}
    assert {one.get_xlim() for one in bottom} == {(0, 120)}
    assert [one.get_ylim() for one in top] == [(0, 0.08), (0, 0.12), (0, 0.14)]
    assert [one.get_ylim() for one in bottom] == [(0, 0.07), (0, 0.04), (0, 0.05)]
    for one in top:
        assert legend(one.get_legend()) == ["w/o Meaningless tokens", "w/ Meaningless tokens"]
        assert [hue(line.get_color()) for line in one.lines] == ["blue", "red"]
        assert one.get_legend()._loc == 2  # upper left
    for one in bottom:
        assert legend(one.get_legend()) == ["w/ Meaningless tokens"]
        assert hue(one.lines[0].get_color()) == "blue"
        assert one.get_legend()._loc == 1
        (span,) = one.patches
        assert hue(span.get_facecolor()) == "grey"
        assert np.allclose(span.get_bbox().intervalx, (18, 72), atol=1)
        assert [text.get_text() for text in one.texts] == ["Meaningless tokens"]


def test_d_shows_the_heads_that_the_title_names(paper):
    """Head 20 of layer 1, counted from 1, is [0, 19] in the table."""
    options, tables, documents = paper[0]["attention_sinks"], *paper[1:]
    changed = tables["attention_weights"].copy()
    chosen = (changed["layer"] == 0) & (changed["head"] == 19) & (changed["condition"] == "without")
    changed.loc[chosen, "weight"] = 0.05
    figure = drawn(*options, {**tables, "attention_weights": changed}, documents)[0]
    flat = [np.ptp(one.lines[0].get_ydata()) == 0 for one in panels(figure)]
    assert flat == [True, False, False, False, False, False]
    plt.close(figure)


def test_e_safety_heads(figure):
    drawn = figure("safety_heads")
    axes = panels(drawn)
    assert rows(axes) == [2]
    assert titles(axes) == ["Top 10 Safety Heads on Undiff Attn.", "Top 10 Safety Heads on Scaling Cont."]
    assert labels(axes) == ({"Layer"}, {"Head"})
    for one in axes:
        assert ticks(one, "x") == ticks(one, "y") == list(range(0, 31, 2))
        assert legend(one.get_legend()) == ["Llama-2-7b-chat", "Vicuna-7b-v1.5"]
        assert [handle.get_marker() for handle in one.get_legend().legend_handles] == ["o", "x"]
        assert one.get_legend()._loc == 1
        assert [len(collection.get_offsets()) for collection in one.collections[:2]] == [10, 10]
    bars = [one for one in drawn.axes if hasattr(one, "_colorbar")]
    assert [bar.get_ylim() for bar in bars] == [(0, 70), (0, 20)]
    assert {bar.get_ylabel() for bar in bars} == {"Generalized Ships"}


def test_one_model_has_two_names_in_two_figures(paper):
    names = {key: options["model_labels"].get("llama-2-7b-chat") for key, (_, options) in paper[0].items()}
    assert (names["mink_depth"], names["safety_heads"]) == ("LLaMA 2 7B Chat", "Llama-2-7b-chat")
