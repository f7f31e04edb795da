"""The figure of claims: a shape and a colour for each verdict, values inside, published ones beside; its caption."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Polygon

import planted_claims as planted
from atlas.analyses.claims import plot_claims
from atlas.analyses.claims.said import read

pytestmark = pytest.mark.slow

CLAIMS = sum(len(read(folder).claims) for folder in planted.FOLDERS)
LABELS = {"true": "Model T", "false": "Model F", "few": "Model U"}
OPTIONS = {
    "models": list(LABELS), "model_labels": LABELS, "dataset_labels": {"d": "Data D", "e": "Data E"},
    "sentences": True, "width": 7.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    made = {
        "true": (planted.everything(True, 40), {"repo": "openai-community/gpt2-xl"}),
        "false": (planted.everything(False, 40), {}), "few": (planted.everything(True, 5), {"relatives": {}}),
    }  # fmt: skip
    frames = [
        planted.verdicts(tmp_path_factory.mktemp(model), found, **more).assign(model=model)
        for model, (found, more) in made.items()
    ]
    return pd.concat(frames, ignore_index=True)


def drawn(table, **options):
    return plot_claims.draw({"claims": table}, {**OPTIONS, **options}, {})


def marks(figure):
    """{(line, column): (colour, number of corners)} of the marks in the panel."""
    found = {}
    for patch in figure.axes[0].patches:
        if isinstance(patch, Polygon) and patch.get_closed():
            (left, low), (right, high) = patch.get_xy().min(0), patch.get_xy().max(0)
            colour = tuple(np.round(patch.get_facecolor()[:3], 3))
            found[round((low + high) / 2), int((left + right) / 2)] = colour, len(patch.get_xy())
    return found


def test_every_verdict_has_a_colour_and_a_shape_of_its_own(table):
    figure, _ = drawn(table)
    found = marks(figure)
    column = {place: {found[line, place] for line in range(CLAIMS) if (line, place) in found} for place in range(3)}
    assert [len(column[place]) for place in range(3)] == [1, 1, 1]
    colours, corners = zip(*(next(iter(column[place])) for place in range(3)), strict=True)
    assert len(set(colours)) == len(set(corners)) == 3
    assert sum(place == 2 for _, place in found) == CLAIMS - 5  # the last model has no relatives: a line, no mark


def test_lines_are_claims_in_order_with_their_sentence(table):
    figure, _ = drawn(table)
    names = [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()]
    assert [name.split()[0] for name in names] == sorted(set(table["claim"]))
    assert names[0].startswith("A1  The flow from the question to the answer peaks lower")
    short = drawn(table, sentences=False)[0].axes[0].get_yticklabels()
    assert [label.get_text().strip() for label in short] == sorted(set(table["claim"]))


def test_a_claim_on_two_data_sets_has_two_lines(table):
    both = pd.concat([table, table[table["analysis"] == "sinks"].assign(dataset="e")], ignore_index=True)
    names = [label.get_text() for label in drawn(both)[0].axes[0].get_yticklabels()]
    place = next(i for i, name in enumerate(names) if name.startswith("D4"))
    assert names[place].endswith("[Data D]")
    assert names[place + 1] == "[Data E]"


def test_what_cannot_be_put_to_a_model_stands_in_the_lines_of_the_others(table):
    absent = (table["model"] == "few") & (table["analysis"] == "sinks")
    changed = table.assign(
        dataset=table["dataset"].mask(absent, ""),
        claim_verdict=table["claim_verdict"].mask(absent, "not applicable"),
    )
    figure, _ = drawn(changed)
    assert len(figure.axes[0].get_yticklabels()) == CLAIMS
    line = sorted(set(table["claim"])).index("D4")
    assert (line, 2) not in marks(figure)
    assert (line, 1) in marks(figure)


def test_values_stand_inside_and_published_ones_beside(table):
    figure, _ = drawn(table)
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"0.8", "natural", "0.77"} <= texts
    peak = table[(table["model"] == "true") & (table["part"] == "peak")]["value"].item()
    assert f"{peak:.2g}†".replace("-", "−") in texts


def test_many_models_keep_the_width(table):
    many = [f"m{number}" for number in range(9)]
    frame = pd.concat([table[table["model"] == "true"].assign(model=model) for model in many], ignore_index=True)
    figure, _ = drawn(frame, models=many, model_labels=dict.fromkeys(many, "Model"))
    assert figure.get_tightbbox().width <= 7.0 * 1.06


def test_the_caption_counts_by_model(table):
    _, caption = drawn(table)
    assert f"n = {3 * CLAIMS} claims of models and data sets" in caption
    tests = table.groupby("model")["tests"].first()
    assert f"Model F ({tests['false']} tests): does not hold A1, A2, A3" in caption
    assert "not applicable A2, B2, B3, C5, E5" in caption
    assert "95% interval" in caption


def test_the_shape_shows_the_claims_verdict_and_the_value_of_the_part_that_decides(table):
    own = table[(table["model"] == "true") & (table["claim"] == "D4")].copy()
    own.loc[own["part"] == "repeated", ["verdict", "value"]] = ["does not hold", 0.444]
    own["claim_verdict"] = "does not hold"
    figure, _ = drawn(own, models=["true"], model_labels={"true": "M"})
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"0.44", "repeated"} <= texts
    assert "0.8" not in texts


def test_a_claim_is_open_for_a_part_that_could_not_be_put(table):
    own = table[(table["model"] == "true") & (table["claim"] == "D4")].copy()
    own.loc[own["part"] == "repeated", ["verdict", "value"]] = ["not applicable", np.nan]
    own["claim_verdict"] = "undecided"
    figure, _ = drawn(own, models=["true"], model_labels={"true": "M"})
    assert {"?", "repeated"} <= {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize(
    ("value", "text"), [(99.7, "100"), (99.4, "99"), (-99.7, "−100"), (1234.4, "1234"), (0.126, "0.13")]
)
def test_numbers_below_a_hundred_need_no_power_of_ten(value, text):
    assert plot_claims._number(value) == text
