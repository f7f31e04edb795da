"""The data of the explorer's page: what is packed is what the tables hold, small, and the same bytes every time."""

import base64
import json
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bokeh.resources import INLINE

from atlas.analyses.head_categories.plot_head_categories import COLOURS
from atlas.analyses.heads import plot_explorer as explorer
from atlas.analyses.heads.explorer_data import NONE, page_data
from atlas.analyses.heads.explorer_salient import salient_data
from atlas.analyses.heads.packed import packed
from atlas.analyses.registry import HEAD_ANALYSES, HEAD_COLUMNS
from head_tables import operations, options, tables
from places import ROOT


def unpack(array):
    return np.frombuffer(base64.b64decode(array["data"]), array["type"])


def test_packed_arrays_come_back():
    for dtype in ("float32", "uint16", "uint8"):
        values = np.arange(7).astype(dtype)
        np.testing.assert_array_equal(unpack(packed(values, dtype)), values)
    assert np.isnan(unpack(packed([np.nan], "float32"))).all()


def test_numbers_and_labels_are_those_of_the_table():
    given = tables()
    data = page_data(given, options())
    assert [model["label"] for model in data["models"]] == ["Model one", "Model two"]
    # saliency is in no model; Ships only in the first, where the second has nulls
    assert [metric["name"] for metric in data["metrics"]] == [
        "score", "alpha_natural", "meaningless_effect", "ships_scaling",
    ]  # fmt: skip
    for model in data["models"]:
        heads = given["heads"][given["heads"]["model"] == model["key"]]
        np.testing.assert_array_equal(unpack(model["layer"]), heads["layer"])
        np.testing.assert_array_equal(unpack(model["head"]), heads["head"])
        for column, array in model["columns"].items():
            np.testing.assert_array_equal(unpack(array), heads[column].to_numpy("float32"))
        labels = [None if index == NONE else data["labels"][index] for index in unpack(model["label_index"])]
        assert labels == heads["label"].tolist()
    assert np.isnan(unpack(data["models"][1]["columns"]["ships_scaling"])).all()
    assert [group["title"] for group in data["groups"]] == [
        "Head categories", "Attention sinks", "Meaningless tokens", "Safety heads",
    ]  # fmt: skip
    assert data["groups"][1]["data"] == "T data"


def test_top_relations_are_the_strongest():
    given = tables()
    model = page_data(given, options())["models"][1]
    top = model["top"]
    names = sorted(given["head_relations"]["relation"].unique())
    own = given["head_relations"].query("model == 'two'")
    for row, (layer, head) in enumerate(zip(unpack(model["layer"]), unpack(model["head"]), strict=True)):
        part = own[(own["layer"] == layer) & (own["head"] == head) & (own["score"] > 0)].nlargest(2, "score")
        cells = slice(row * 2, row * 2 + 2)
        found = [index for index in unpack(top["relation"])[cells] if index != NONE]
        assert [names[index] for index in found] == part["relation"].tolist()
        assert unpack(top["direct"])[cells][: len(part)].tolist() == (part["sign"] == "direct").tolist()
        np.testing.assert_allclose(unpack(top["score"])[cells][: len(part)], part["score"], rtol=1e-6)


def test_curves_are_kept_to_a_part_in_65535_and_where_enough_prompts_reach():
    given = tables()
    curves = page_data(given, options())["models"][0]["curves"]
    assert unpack(curves["heads"]).tolist() == list(range(20))
    for condition in ("without", "with"):
        kept = curves[condition]
        assert kept["positions"] == list(range(10))  # the last two are reached by 3 prompts
        share = unpack(kept["share"]).reshape(20, 10) / 65535 * unpack(kept["maximum"])[:, None]
        own = given["attention_weights"].query(f"model == 'one' and condition == '{condition}' and position < 10")
        np.testing.assert_allclose(share, own["weight"].to_numpy().reshape(20, 10), atol=1e-5)


def test_no_more_curves_than_asked_for_the_largest_drops():
    given = tables()
    curves = page_data(given, options(curves=3))["models"][0]["curves"]
    effect = given["heads"].query("model == 'one'")["meaningless_effect"].reset_index(drop=True)
    assert unpack(curves["heads"]).tolist() == sorted(effect.nsmallest(3).index)
    assert page_data(given, options(curves=0))["models"][0]["curves"] is None


def test_analyses_that_are_missing_are_left_out():
    given = {"heads": tables()["heads"].assign(meaningless_effect=np.nan)}
    data = page_data(given, options())
    assert [group["title"] for group in data["groups"]] == ["Head categories", "Attention sinks", "Safety heads"]
    assert {model["top"] for model in data["models"]} == {model["curves"] for model in data["models"]} == {None}


def test_every_column_that_is_shown_is_defined_and_its_page_is_there():
    for name in HEAD_ANALYSES:
        told = HEAD_COLUMNS[name]
        assert set(told.DEFINITIONS) == {*told.MEASURES, *told.SHOWN}
        assert all(text.endswith(".") and "  " not in text for text in told.DEFINITIONS.values())
        assert (ROOT / "docs" / f"{told.PAGE}.md").is_file()
    data = page_data(tables(), options())
    shown = {metric["name"] for metric in data["metrics"]} | {c for group in data["groups"] for c in group["columns"]}
    assert set(data["definitions"]) == shown
    assert data["definitions"]["alpha_natural"]["page"] == "attention_sinks"


def test_layers_without_attention_are_those_where_a_measure_of_every_head_is_null():
    given = tables()
    heads = given["heads"]
    heads.loc[(heads["model"] == "two") & heads["layer"].isin([1, 4]), "alpha_natural"] = np.nan
    heads.loc[(heads["model"] == "one") & (heads["layer"] == 2) & (heads["head"] == 1), "alpha_natural"] = np.nan
    heads.loc[heads["layer"] == 0, "score"] = np.nan  # not every head has a relation
    assert [model["blank_layers"] for model in page_data(given, options())["models"]] == [[], [1, 4]]
    caption = explorer.draw(given, options(), {})[1]
    assert caption.endswith("Of Model two 3 of 5 layers have attention; the others are blank.")


def test_every_category_has_a_colour_of_its_own():
    assert list(explorer.LABEL_COLOURS) == list(COLOURS)
    assert len(set(explorer.LABEL_COLOURS.values())) == len(COLOURS)


def test_page_holds_all_it_needs_and_its_data_parse():
    page, caption = explorer.draw(tables(), options(), {})
    assert "Model one, Model two" in caption
    own = page.replace(INLINE.js_raw[0], "")
    assert len(own) < len(page) - 1_000_000  # Bokeh is written into the page
    assert not re.search(r"(src|href|url|import)\W+(https?:)?//", own)
    for name in ("atlas-data", "atlas-document"):
        text = page.split(f'<script id="{name}" type="application/json">')[1].split("</script>")[0]
        assert json.loads(text)
    assert len(page) < 2_000_000


def test_a_label_cannot_leave_its_script():
    page, _ = explorer.draw(tables(), options(model_labels={"one": "</script><b>", "two": "2"}), {})
    assert "</script><b>" not in page
    assert "<\\/script><b>" in page


def test_a_label_begins_no_comment_and_no_script():
    label = '<!--<script>$x$ & "quotes"'  # a browser would look for the end of that script behind this one's
    page, _ = explorer.draw(tables(), options(model_labels={"one": label, "two": "<SCRIPT"}), {})
    text = page.split('<script id="atlas-data" type="application/json">')[1].split("</script>")[0]
    assert json.loads(text)["models"][0]["label"] == label
    assert "<!--" not in text
    assert "<script" not in text.lower()


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "from bokeh.plotting import figure; figure().line([1], [2]); "])
def test_same_bytes_in_every_process(before):
    page, _ = explorer.draw(tables(), options(), {})
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'scripts')!r}, {str(ROOT / 'tests')!r}]; {before}"
        "from atlas.analyses.heads import plot_explorer as explorer; from head_tables import options, tables; "
        "sys.stdout.buffer.write(explorer.draw(tables(), options(), {})[0].encode())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert output.decode() == page
    plt.close("all")


def test_salient_operations_of_each_head_come_back():
    heads = pd.DataFrame({"layer": [1, 1, 0, 0], "head": [0, 1, 0, 1]})  # in another order
    found = salient_data("one", heads, operations(), 2)
    source, ratio = (unpack(found[name]).reshape(4, 2) for name in ("source", "ratio"))
    assert (source[2] == -1).all()
    assert [found["texts"][int(i)] for i in source[0]] == [" word1", " word2"]
    assert ratio[0].tolist() == [3, 2]
    for sign in ("direct", "suppression"):
        mapped = unpack(found[sign]).reshape(4, 2, found["mapped"])
        assert [found["texts"][int(i)] for i in mapped[3, 1]] == [f" {sign}201", "</script>"]
        assert (mapped[2] == -1).all()
    assert salient_data("two", heads, operations(), 2) is None
    assert salient_data("one", heads, operations(), 0) is None
    assert salient_data("one", heads, None, 2) is None


def test_a_page_without_salient_operations_says_so_in_no_model():
    assert {model["salient"] for model in page_data(tables(), options())["models"]} == {None}
