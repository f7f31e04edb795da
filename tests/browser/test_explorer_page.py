"""The explorer in a real browser without network: it loads without errors, and everything in it follows the hand."""

import json
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest

from explorer_page import Page
from head_tables import operations, options, tables


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    return Page(browser, tmp_path_factory.mktemp("page"), tables())


@pytest.fixture
def page(opened):
    """The page as it was when it was opened."""
    opened.pick("#model", "Model one")
    opened.find("#clear").click()
    opened.run("document.activeElement.blur()")
    return opened


_VISIBLE = "return Array.from(arguments, name => Bokeh.documents[0].get_model_by_name(name).visible)"


def test_colours_begin_at_zero_however_close_the_values_are(browser, tmp_path):
    given = tables()
    given["heads"]["alpha_natural"] = 0.9 + given["heads"]["alpha_natural"] / 100
    page = Page(browser, tmp_path, given)
    ends = "const m = Bokeh.documents[0].get_model_by_name(arguments[0]); return [m.low, m.high]"
    low, high = page.run(ends, "colours-alpha_natural")
    assert low == 0
    assert high == pytest.approx(given["heads"].query("model == 'one'")["alpha_natural"].max(), rel=1e-6)


def test_salient_operations_stand_beside_the_relations_of_a_head(browser, tmp_path):
    page = Page(browser, tmp_path, {**tables(), "salient_operations": operations()})

    def listed(head):
        page.type("#search", head)
        page.find("#table tbody button").click()
        rows = page.driver.find_elements("css selector", "#salient tbody tr")
        return [[cell.text for cell in row.find_elements("css selector", "th, td")] for row in rows]

    assert listed("1.0") == [
        ['" word1"', "3", '" direct110" "</script>"', '" suppression110" "</script>"'],
        ['" word2"', "2", '" direct210" "</script>"', '" suppression210" "</script>"'],
    ]
    assert listed("0.0") == []
    assert "none: no weights of this head" in page.text("#salient")
    page.pick("#model", "Model two")
    page.type("#search", "1.0")
    page.find("#table tbody button").click()
    assert page.driver.find_elements("css selector", "#salient") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def number(text):
    return float(text)


def test_loads_without_network_and_without_errors(browser, tmp_path):
    page = Page(browser, tmp_path, tables())
    page.find("#table tbody button").click()
    page.pick("#model", "Model two")
    loud = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert loud == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].split(":")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert asked <= {"file", "data", "blob"}
    picture = tmp_path / "explorer.png"
    browser.save_screenshot(str(picture))
    assert len(np.unique(plt.imread(picture).reshape(-1, 4), axis=0)) > 100  # something is drawn


def test_maps_show_the_table(page):
    heads = page.given["heads"].query("model == 'one'")
    for metric in ("score", "alpha_natural", "meaningless_effect", "ships_scaling"):
        expected = heads.pivot(index="head", columns="layer", values=metric)
        np.testing.assert_allclose(page.image(f"shown-{metric}"), expected, rtol=1e-6)


def test_a_click_in_one_map_chooses_the_head_everywhere(page):
    page.mouse(page.pixel("map-alpha_natural", 3, 2))
    page.wait(lambda: page.chosen() == [(3, 2)])
    assert page.text("#detail h2") == "Layer 3, head 2 of Model one"
    assert page.text("#table tr[data-chosen=true] button") == "3.2"
    row = page.given["heads"].query("model == 'one' and layer == 3 and head == 2").iloc[0]
    detail = {cells[0]: cells[1:] for cells in page.run(
        "return Array.from(document.querySelectorAll('#detail tbody tr'), r => Array.from(r.cells, c => c.textContent))"
    )}  # fmt: skip
    values = page.given["heads"].query("model == 'one'")
    for name, column, ascending in (
        ("sink α₀", "alpha_natural", False),
        ("meaningless effect", "meaningless_effect", True),  # the largest drop is first
        ("Ships, scaling", "ships_scaling", False),
    ):
        assert number(detail[name][0]) == pytest.approx(row[column], rel=1e-3)
        rank = values[column].rank(ascending=ascending)[row.name]
        assert detail[name][1] == f"{int(rank)} of 20"
    assert detail["category"][0] == row["label"]
    best = (
        page.given["head_relations"].query("model == 'one' and layer == 3 and head == 2").nlargest(1, "score").iloc[0]
    )
    assert detail[best["relation"]][0] == best["sign"]
    assert page.source("points-chosen")["x"][0] == pytest.approx(row["score"], rel=1e-6)


def test_curve_is_that_of_the_table(page):
    page.type("#search", "2.1")
    page.find("#table tbody button").click()
    own = page.given["attention_weights"].query("model == 'one' and layer == 2 and head == 1 and position < 10")
    for condition in ("without", "with"):
        expected = own[own["condition"] == condition]["weight"].to_numpy()
        drawn = page.source(f"curve-{condition}")
        assert drawn["x"] == list(range(1, 10))  # the first token only where it is asked for
        np.testing.assert_allclose(drawn["y"], expected[1:], atol=1e-4)
        page.find("#first-token").click()
        np.testing.assert_allclose(page.source(f"curve-{condition}")["y"], expected, atol=1e-4)
        page.find("#first-token").click()


def test_dragging_over_heads_picks_them_and_clear_lets_go(page):
    page.mouse(page.pixel("map-score", 0.6, 0.6), page.pixel("map-score", 2, 2), page.pixel("map-score", 3.4, 2.4))
    page.wait(lambda: page.text("#count") == "6 of 20 heads")
    assert sorted(page.heads()) == ["1.1", "1.2", "2.1", "2.2", "3.1", "3.2"]
    assert np.isfinite(page.image("shown-alpha_natural")).sum() == 6
    assert np.isfinite(page.image("all-alpha_natural")).sum() == 20
    page.find("#clear").click()
    assert page.text("#count") == "20 of 20 heads"


def test_switching_the_model_keeps_the_head(page):
    page.mouse(page.pixel("map-score", 4, 1))
    page.wait(lambda: page.chosen() == [(4, 1)])
    page.pick("#model", "Model two")
    assert page.text("#detail h2") == "Layer 4, head 1 of Model two"
    heads = page.given["heads"].query("model == 'two'")
    expected = heads.pivot(index="head", columns="layer", values="score")
    np.testing.assert_allclose(page.image("shown-score"), expected, rtol=1e-6)
    assert np.isnan(page.image("shown-ships_scaling")).all()  # this model has none: empty, not 0
    assert page.run(_VISIBLE, "none-ships_scaling", "bar-ships_scaling") == [True, False]  # and it says so
    assert page.run(_VISIBLE, "none-score", "bar-score", "none-label") == [False, True, False]
    page.pick("#model", "Model one")
    assert page.run(_VISIBLE, "none-ships_scaling", "bar-ships_scaling") == [False, True]
    page.pick("#model", "Model two")
    assert "Ships, scaling" in page.text("#detail")
    assert "–" in page.text("#detail")


def test_search_category_and_top_narrow_the_heads(page):
    heads = page.given["heads"].query("model == 'one'")
    page.type("#search", "3.2")
    assert page.heads() == ["3.2"]
    page.type("#search", "COUNTRY direct")
    wanted = heads.query("relation == 'country_to_capital' and relation_sign == 'direct'")
    assert page.heads() == [f"{row.layer}.{row.head}" for row in wanted.itertuples()]
    page.find("#clear").click()
    page.pick("#category", "Knowledge")
    assert len(page.heads()) == (heads["label"] == "Knowledge").sum() > 0
    page.find("#clear").click()
    page.type("#top", "3")
    page.pick("#top-metric", "meaningless effect")
    assert set(page.heads()) == {
        f"{row.layer}.{row.head}" for row in heads.nsmallest(3, "meaningless_effect").itertuples()
    }
    page.pick("#top-metric", "relation φ")
    page.type("#search", "no such thing")
    assert page.heads() == []
    assert page.text("#count") == "0 of 20 heads"


def test_columns_sort_both_ways(page):
    order = page.given["heads"].query("model == 'one'").sort_values("alpha_natural")
    names = [f"{row.layer}.{row.head}" for row in order.itertuples()]
    page.find("[data-sort=alpha_natural]").click()
    assert page.heads() == names[::-1]
    page.find("[data-sort=alpha_natural]").click()
    assert page.heads() == names
    assert page.find("[data-sort=alpha_natural]").find_element("xpath", "..").get_attribute("aria-sort") == "ascending"
    page.find("[data-sort=layer]").click()


def test_keyboard_alone_is_enough(page):
    from selenium.webdriver.common.keys import Keys

    page.run("document.getElementById('map-alpha_natural').focus()")
    page.keys(Keys.ARROW_RIGHT)
    assert page.chosen() == [(0, 0)]
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert page.chosen() == [(2, 1)]
    page.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT)
    assert page.chosen() == [(1, 0)]  # stops at the edge
    page.keys("m")
    assert page.text("#detail h2") == "Layer 1, head 0 of Model two"
    page.keys("/")
    page.keys("m4.1")  # letters go into the field now
    assert page.find("#search").get_attribute("value") == "m4.1"
    assert page.find("#model").get_attribute("value") == "1"
    page.keys(Keys.ESCAPE)
    assert page.find("#search").get_attribute("value") == ""
    assert page.chosen() == []
    page.find("#clear").send_keys(Keys.TAB)
    for _ in range(60):  # past the maps and the table's headers
        if page.run("return document.activeElement.textContent") == "0.2":
            break
        page.keys(Keys.TAB)
    page.keys(Keys.ENTER)
    assert page.chosen() == [(0, 2)]


def test_a_model_of_seventy_billion_stays_fluid(browser, tmp_path):
    """80 layers of 64 heads: every change is drawn within a second, also on a busy machine."""
    from selenium.webdriver.common.keys import Keys

    given = tables(models=("one",), layers=80, heads=64, positions=4)
    page = Page(browser, tmp_path, given, models=("one",))
    assert page.text("#count") == "5120 of 5120 heads"
    assert len(page.heads()) == 100
    assert "5020 more heads" in page.text("#more")
    timed = """const done = arguments[arguments.length - 1], start = performance.now();
        const field = document.getElementById("search");
        field.value = arguments[0];
        field.dispatchEvent(new Event("input"));
        requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));"""
    times = [browser.execute_async_script(timed, text) for text in ("k", "kn", "know", "", "7", "")]
    assert np.median(times) < 1000, times
    page.run("document.getElementById('map-score').focus()")
    started = time.monotonic()
    page.keys(*[Keys.ARROW_RIGHT] * 20)
    assert page.chosen() == [(19, 0)]
    assert (time.monotonic() - started) / 20 < 1


def test_what_users_write_is_text_and_nothing_else(browser, tmp_path):
    """Labels of models and data sets, and names of relations that a browser would take for elements or a script."""
    nasty = (
        """</script></select><img src=x onerror="document.hacked=1"><!--<script>document.hacked=1</script> $x$ \\ '"""
    )
    given = tables()
    relations = given["head_relations"]
    given["head_relations"] = relations.assign(relation=relations["relation"] + nasty)
    labels = {"model_labels": {"one": f"1 {nasty}", "two": f"2 {nasty}"}}
    data = {key: f"{label} {nasty}" for key, label in options()["dataset_labels"].items()}
    plain = Page(browser, tmp_path, tables())
    plain.mouse(plain.pixel("map-score", 2, 1))
    count = "return [...document.querySelectorAll('*')].map(e => e.tagName).filter(t => !/^(TR|TD)$/.test(t)).join()"
    expected = plain.run(count)
    page = Page(browser, tmp_path, given, **labels, dataset_labels=data)
    page.mouse(page.pixel("map-score", 2, 1))
    assert page.run(count) == expected
    assert page.run("return document.hacked ?? null") is None
    assert page.run("return [...document.getElementById('model').options].map(o => o.text)") == [
        " ".join(label.split()) for label in labels["model_labels"].values()
    ]
    assert page.run("return document.querySelector('#detail h2').textContent").endswith(f"of 1 {nasty}")
    titles = page.run("return [...document.querySelectorAll('#detail h3')].map(h => h.textContent)")
    assert sum(nasty in title for title in titles) == len(data)
    cells = page.run("return [...document.querySelectorAll('#detail td, #detail th')].map(h => h.textContent)")
    assert sum(nasty in cell for cell in cells) > 0
    page.type("#search", "onerror=")
    assert page.text("#count").split()[0] != "0"
