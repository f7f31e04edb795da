"""Figures: chosen heads, hidden first tokens, what is drawn, captions, the same bytes twice."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from atlas.analyses.meaningless_tokens import plot_attention_sinks as attention_sinks
from atlas.analyses.sinks import plot_sink_rates as sink_rates
from atlas.errors import AtlasError
from atlas.plots import style

DOCUMENT = {
    "options": {
        "span": {"kind": "repeat", "string": "/", "count": 3}, "insertion": "ids", "template": "raw", "bos": False
    },
    "metric_options": {"reading": "drop_columns", "confidence": 0.95},
}  # fmt: skip
NO_AXES = dict.fromkeys(("xlim", "ylim", "xticks", "yticks"))
OPTIONS = {
    "models": ["m"], "model_labels": {"m": "Model M"}, "dataset": "d", "dataset_label": "Data D", "width": 5.0,
    "heads": {"auto": 2, "layer": 0}, "numbering": "one_based", "title": "{label} Layer {layer} Head {head}",
    "first_token": "auto", "min_prompts": 2, "xlim": None, "ylim": None, "xticks": None, "yticks": None,
    "top": NO_AXES, "bottom": NO_AXES,
}  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    """matplotlib keeps every figure until it is closed."""
    yield
    plt.close("all")


def effect():
    rows = [(layer, head, -0.1 * head + layer) for layer in range(2) for head in range(3)]
    frame = pd.DataFrame(rows, columns=["layer", "head", "effect"])
    return frame.assign(model="m", dataset="d", prompts=5, prompts_dropped=1, weight_without=0.01)


def weights(first=0.1):
    rows = []
    for condition, tokens in (("without", 6), ("with", 9)):
        for layer in range(2):
            for head in range(3):
                for position in range(tokens):
                    inside = condition == "with" and 2 <= position < 5
                    aligned = position - (3 if condition == "with" and position >= 5 else 0)
                    value = first if position == 0 else 0.01 * (1 + position + head)
                    rows.append((condition, layer, head, position, None if inside else aligned, inside, value))
    columns = ["condition", "layer", "head", "position", "aligned_position", "in_span", "weight"]
    frame = pd.DataFrame(rows, columns=columns).astype({"aligned_position": "Int32"})
    frame["prompts"] = np.where(frame["position"] < 8, 5, 1)
    return frame.assign(model="m", dataset="d", weight_low=frame["weight"] - 0.001, weight_high=frame["weight"] + 0.001)


def drawn(first=0.1, **options):
    return attention_sinks.draw(
        {"attention_weights": weights(first), "meaningless_effect": effect()},
        {**OPTIONS, **options},
        {"attention_weights": {"results/metrics/m/table/d.parquet": DOCUMENT}},
    )


def test_heads_with_the_largest_drop_are_chosen():
    assert attention_sinks.choose_heads(effect(), {"auto": 2, "layer": 0}, "m") == [(0, 2), (0, 1)]
    assert attention_sinks.choose_heads(effect(), {"auto": 1, "layer": None}, "m") == [(0, 2)]
    assert attention_sinks.choose_heads(effect(), [[1, 0]], "m") == [(1, 0)]
    assert attention_sinks.choose_heads(effect(), {"m": [[1, 2]]}, "m") == [(1, 2)]
    with pytest.raises(AtlasError, match="no layer 7"):
        attention_sinks.choose_heads(effect(), {"auto": 2, "layer": 7}, "m")


def test_panels_show_both_conditions_and_the_span():
    figure, caption = drawn()
    top, bottom = figure.axes[0], figure.axes[2]
    assert top.get_title() == "Model M Layer 1 Head 3"
    assert [text.get_text() for text in top.get_legend().get_texts()] == [
        "w/o Meaningless tokens",
        "w/ Meaningless tokens",
    ]
    assert [line.get_xdata().tolist() for line in top.lines] == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]  # aligned
    assert bottom.lines[0].get_xdata().tolist() == list(range(8))  # position 8: one prompt only, left out
    assert "Meaningless tokens" in [text.get_text() for text in bottom.texts]
    assert bottom.patches[0].get_extents().width > 0
    assert "5 prompts (1 dropped)" in caption
    assert "First token not shown (rule: mean weight above 0.3 in a head shown): none." in caption


def test_labels_count_from_zero_where_asked():
    assert drawn(numbering="zero_based")[0].axes[0].get_title() == "Model M Layer 0 Head 2"


def test_rows_have_axes_of_their_own_for_all_panels_or_for_each():
    top = NO_AXES | {"ylim": [[0, 1], [0, 2]], "xlim": [0, 9], "yticks": {"m": [[0, 1], [0, 2]]}}
    axes = drawn(ylim=[0, 3], top=top, bottom=NO_AXES | {"xlim": {"m": [0, 8]}})[0].axes
    assert [panel.get_ylim() for panel in axes] == [(0, 1), (0, 2), (0, 3), (0, 3)]
    assert [panel.get_xlim() for panel in axes] == [(0, 9), (0, 9), (0, 8), (0, 8)]
    assert [panel.get_yticks().tolist() for panel in axes[:2]] == [[0, 1], [0, 2]]
    with pytest.raises(AtlasError, match="ylim of the upper or lower row has 3 values, but m is shown by 2 heads"):
        drawn(bottom=NO_AXES | {"ylim": [[0, 1]] * 3})


def test_a_first_token_that_is_a_sink_is_left_out_and_said():
    figure, caption = drawn(first=0.5)
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert "none" not in caption.split("First token not shown")[1]
    assert drawn(first=0.5, first_token="show")[0].axes[0].lines[0].get_xdata()[0] == 0
    assert drawn(first=0.1, first_token="hide")[0].axes[0].lines[0].get_xdata()[0] == 1


def test_axes_come_from_the_configuration():
    figure, _ = drawn(ylim=[0, 2], xlim={"m": [0, 4]}, xticks=[0, 4])
    assert figure.axes[0].get_ylim() == (0, 2)
    assert figure.axes[0].get_xlim() == (0, 4)
    assert figure.axes[0].get_xticks().tolist() == [0, 4]


def test_sink_rates_draw_every_input_and_every_head():
    layers = pd.array([0, 1, None], dtype="Int32")
    rates = pd.concat(
        pd.DataFrame({"layer": layers, "rate": [0.0, share, share / 2], "input": kind})
        for kind, share in (("natural", 0.8), ("random", 0.6), ("repeated", 0.0))
    ).assign(model="m", rate_low=0.0, rate_high=1.0, epsilon=0.3, length=64, sequences=8, bos=False)
    rows = [(layer, head, layer + head / 10) for layer in range(2) for head in range(3)]
    heads = pd.DataFrame(rows, columns=["layer", "head", "alpha"])
    figure, caption = sink_rates.draw(
        {"sinks": heads.assign(model="m", input="natural"), "sink_rates": rates},
        OPTIONS | {"title": "{label}"},
        {"sink_rates": {"results/metrics/m/table/d.parquet": DOCUMENT}},
    )
    curves, image = figure.axes[0], figure.axes[1].images[0]
    assert [line.get_ydata().tolist() for line in curves.lines] == [[0, 80], [0, 60], [0, 0]]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == [
        "natural 40.0 %",
        "random 30.0 %",
        "repeated 0.0 %",
    ]
    np.testing.assert_allclose(image.get_array(), [[0, 1], [0.1, 1.1], [0.2, 1.2]])  # heads up, layers across
    assert "n = 8 sequences of 64 tokens" in caption


class Output(dict):
    __getattr__ = dict.__getitem__


def test_saved_figures_are_the_same_bytes_twice(tmp_path):
    names = {"pdf": "x.pdf", "svg": "x.svg", "png": "x.png", "caption": "x.txt"}
    contents = []
    for run in ("one", "two"):
        figure, caption = drawn()
        output = Output({key: str(tmp_path / run / name) for key, name in names.items()})
        style.save(figure, caption, output)
        contents.append([(tmp_path / run / name).read_bytes() for name in names.values()])
    assert contents[0] == contents[1]
    assert contents[0][3].decode().startswith("Average attention weight")
