"""The explorer for every reader: by keys, by finger, on a small screen, by link, with any label, and as files."""

import csv
import io
import time
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from atlas.results.tables import write_csv
from explorer_page import Page, faults
from head_tables import tables
from made_figures import configuration
from made_tables import tables_of

NASTY = "<!--<script> </script> \"quoted\" 'it' & نموذج שלום 🙂 {page} $x ${x} \\n"
FORMULA = '=HYPERLINK("x"),\n<img src=x onerror=alert(1)>'
BLANK = [0, 3]  # layers of the second model without attention
SMALL = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


def given():
    """The tables of a trained model and of a hybrid whose layers 0 and 3 have no attention, with hostile names."""
    found = tables()
    heads = found["heads"]
    blank = (heads["model"] == "two") & heads["layer"].isin(BLANK)
    heads.loc[blank, ["score", "alpha_natural", "meaningless_effect", "label", "relation", "relation_sign"]] = np.nan
    heads.loc[heads["score"] == 0, ["relation", "relation_sign"]] = np.nan  # as in the table: none where φ is 0
    heads["relation"] = heads["relation"].replace("copying", FORMULA)
    relations = found["head_relations"]
    relations["relation"] = relations["relation"].replace("copying", FORMULA)
    of_blank = (relations["model"] == "two") & relations["layer"].isin(BLANK)
    found["head_relations"] = relations[~of_blank]
    return found


@pytest.fixture(scope="module")
def made(browser, tmp_path_factory):
    labels = {"one": "Model one", "two": NASTY}
    claims = tables_of(configuration(["Alpha", "Beta"], "{}"))[0]["claims"].replace(
        {"model": {"m0": "one", "m1": "two"}}
    )
    return Page(
        browser, tmp_path_factory.mktemp("everyone"), given() | {"claims": claims}, model_labels=labels, claims=True
    )


@pytest.fixture
def page(made):
    made.open()
    return made


@pytest.fixture
def small(made):
    """The page on a telephone: 390 points across, and a finger."""
    made.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SMALL)
    made.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    made.open()
    yield made
    made.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    made.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def swiped(page):
    """How far a finger that goes up over a map moves the page, in points."""
    x, y = map(int, page.pixel("map-score", 1, 1))
    before, touch = page.run("return scrollY"), "Input.dispatchTouchEvent"
    page.driver.execute_cdp_cmd(touch, {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 12):
        point = {"x": x + 5 * step, "y": y - 20 * step}
        page.driver.execute_cdp_cmd(touch, {"type": "touchMove", "touchPoints": [point]})
        time.sleep(0.02)
    page.driver.execute_cdp_cmd(touch, {"type": "touchEnd", "touchPoints": []})
    time.sleep(0.3)
    return page.run("return scrollY") - before


def unfold(page):
    page.run("document.querySelectorAll('details').forEach(one => one.open = true)")


def tooltips(page):
    """The texts of the tooltips that are seen, wherever Bokeh keeps them."""
    return page.run("""
        const found = [];
        const look = (root) => root.querySelectorAll("*").forEach((one) => {
            if (one.shadowRoot) look(one.shadowRoot);
            if (one.matches(".bk-tooltip-content") && one.checkVisibility()) found.push(one.innerText);
        });
        look(document);
        return found;""")


def hover(page, x, y):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    actions = ActionBuilder(page.driver, duration=30)
    actions.pointer_action.move_to_location(int(x) + 3, int(y)).move_to_location(int(x), int(y))
    actions.perform()


def test_axe_finds_nothing(page):
    assert faults(page.driver) == []
    page.open("#model=two&measure=meaningless_effect&layer=2&head=1")
    unfold(page)
    assert faults(page.driver) == []


def test_axe_finds_what_is_wrong(page):
    page.run("document.getElementById('search').closest('label').replaceWith(document.createElement('input'))")
    assert any(fault.startswith("label") for fault in faults(page.driver))


def test_axe_finds_nothing_on_a_small_screen(small):
    small.open("#model=one&measure=label&layer=2&head=1")
    unfold(small)
    assert faults(small.driver) == []


def test_every_stop_of_the_tab_key_has_a_name(page):
    from selenium.webdriver.common.keys import Keys

    page.open("#model=one&measure=score&layer=1&head=0")
    page.run(
        "const field = document.getElementById('search'); field.value = '1.'; field.dispatchEvent(new Event('input'))"
    )
    stops, inside = [], "return document.activeElement.shadowRoot?.activeElement?.outerHTML ?? null"
    for _ in range(200):
        page.keys(Keys.TAB)
        if page.run("return document.activeElement === document.body"):
            break
        assert page.run(inside) is None  # Bokeh's own stops have no names
        stops.append(page.driver.switch_to.active_element)
    else:
        pytest.fail("the tab key does not come to an end")
    names = [stop.accessible_name for stop in stops]
    assert all(names), [stop.get_attribute("outerHTML") for stop, name in zip(stops, names, strict=True) if not name]
    assert sum(name.startswith("Map of") for name in names) == 5
    assert len(stops) > 40


def test_arrow_keys_scroll_the_page_but_in_a_map(page):
    from selenium.webdriver.common.keys import Keys

    page.keys(Keys.ARROW_DOWN)
    page.wait(lambda: page.run("return scrollY") > 0)
    assert page.chosen() == []
    page.find("#table tbody button").click()
    before, chosen = page.run("return scrollY"), page.chosen()
    page.keys(Keys.ARROW_DOWN)
    page.wait(lambda: page.run("return scrollY") > before)
    assert page.chosen() == chosen
    page.run("document.getElementById('map-score').focus()")
    page.wait(lambda: page.run("const now = scrollY, then = window.then; window.then = now; return now === then"))
    before = page.run("return scrollY")
    page.keys(Keys.ARROW_UP)
    assert page.chosen() != chosen
    assert page.run("return scrollY") == before
    assert page.text("#said").startswith("Layer 0, head 1. relation φ: ") or page.run(
        "return document.getElementById('said').textContent"
    ).startswith("Layer 0, head 1. relation φ: ")


def test_the_wheel_scrolls_the_page_over_a_map(page):
    x, y = page.pixel("map-score", 2, 2)
    before, seen = page.run("return scrollY"), "const r = Bokeh.documents[0].get_model_by_name('layers');"
    wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": 120}
    page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)
    page.wait(lambda: page.run("return scrollY") > before)
    assert page.run(seen + "return [r.start, r.end]") == [-0.5, 4.5]


def test_nothing_overflows_and_a_finger_scrolls(small):
    wide = "return [document.documentElement.scrollWidth, innerWidth]"
    for fragment in ("", "#model=two&measure=score&layer=2&head=1"):
        small.open(fragment)
        unfold(small)
        across, there = small.run(wide)
        assert across <= there == 390
    small.open()
    assert swiped(small) > 100
    assert small.text("#count") == "20 of 20 heads"  # and nothing was picked
    x, y = small.pixel("map-score", 2, 1)
    small.driver.execute_cdp_cmd("Input.synthesizeTapGesture", {"x": int(x), "y": int(y)})
    small.wait(lambda: small.chosen() == [(2, 1)])
    small.pick("#drag", "picks heads")  # the reader's wish: now the finger is the map's
    assert swiped(small) == 0
    assert small.text("#count") != "20 of 20 heads"


def test_a_pointer_is_told_the_values(page):
    row = page.given["heads"].query("model == 'one' and layer == 3 and head == 2").iloc[0]
    hover(page, *page.pixel("map-alpha_natural", 3, 2))
    page.wait(lambda: tooltips(page))
    (text,) = tooltips(page)
    values = page.given["heads"].query("model == 'one'")["alpha_natural"]
    place = int(values.rank(ascending=False)[row.name])
    lines = text.split("\n")
    assert lines[0] == "Layer 3, head 2"
    assert lines[1] == f"sink α₀: {float(f'{row.alpha_natural:.4g}'):g} share of attention, rank {place} of 20"
    assert lines[2] == row["label"]
    page.find("#clear").click()
    x, y = row["score"], row["alpha_natural"]
    hover(page, *page.pixel("scatter", x, y))
    page.wait(lambda: any(text.startswith("Layer 3, head 2\nrelation φ: ") for text in tooltips(page)))


def test_heads_without_values_are_hatched_and_named(page):
    page.pick("#model", page.run("return document.querySelectorAll('#model option')[1].text"))
    assert page.text("#blank").startswith("Layers 0, 3 have no attention")
    blank = page.source("blank-meaningless_effect")
    assert blank["x"] == BLANK
    assert blank["height"] == [4, 4]
    assert page.source("blank-ships_scaling")["x"] == []  # no value at all is said otherwise
    hover(page, *page.pixel("map-score", 3, 1))
    page.wait(lambda: tooltips(page))
    assert tooltips(page)[0].split("\n")[1] == "relation φ: no value, this layer has no attention"
    page.pick("#model", "Model one")
    assert page.text("#blank") == ""
    assert page.source("blank-meaningless_effect")["x"] == []


def test_zoom_is_that_of_all_maps(page):
    seen = """return Bokeh.documents[0].roots().filter(one => one.name.startsWith("map-"))
        .map(one => [one.x_range.start, one.x_range.end, one.y_range.start, one.y_range.end])"""

    def ranges():
        first, *others = page.run(seen)
        assert len(others) == 4
        assert all(other == first for other in others)
        return first

    assert ranges() == [-0.5, 4.5, -0.5, 3.5]
    page.find("#zoom-in").click()
    assert ranges() == [0.75, 3.25, 0.5, 2.5]
    page.find("#zoom-out").click()
    assert ranges() == [-0.5, 4.5, -0.5, 3.5]
    page.pick("#drag", "zooms")
    page.mouse(page.pixel("map-score", 0.6, 0.6), page.pixel("map-score", 2, 2), page.pixel("map-score", 3.4, 2.9))
    page.wait(lambda: ranges()[0] > 0)
    np.testing.assert_allclose(ranges(), [0.6, 3.4, 0.6, 2.9], atol=0.1)
    assert page.text("#count") == "20 of 20 heads"
    page.find("#table tbody button").click()  # head 0.0 comes into sight
    assert [ranges()[0], ranges()[2]] == pytest.approx([-0.5, -0.5])
    page.find("#zoom-whole").click()
    assert ranges() == [-0.5, 4.5, -0.5, 3.5]


def test_an_address_is_a_head_and_back_goes_back(page):
    page.open("#model=two&measure=alpha_natural&layer=2&head=3")
    assert page.chosen() == [(2, 3)]
    assert page.text("#detail h2") == f"Layer 2, head 3 of {NASTY}"
    assert page.find("figure.current").get_attribute("id") == "figure-alpha_natural"
    assert page.find("#detail a").get_attribute("href").endswith("#model=two&measure=alpha_natural&layer=2&head=3")
    page.mouse(page.pixel("map-score", 4, 1))
    page.wait(lambda: page.address() == "#model=two&measure=score&layer=4&head=1")
    page.pick("#model", "Model one")
    assert page.address() == "#model=one&measure=score&layer=4&head=1"
    page.driver.back()
    page.wait(lambda: page.text("#detail h2") == f"Layer 4, head 1 of {NASTY}")
    page.driver.back()
    page.wait(lambda: page.chosen() == [(2, 3)])
    assert page.find("figure.current").get_attribute("id") == "figure-alpha_natural"
    page.driver.forward()
    page.wait(lambda: page.chosen() == [(4, 1)])


def test_a_run_of_arrow_keys_is_one_step_back(page):
    from selenium.webdriver.common.keys import Keys

    page.mouse(page.pixel("map-score", 1, 1))
    page.wait(lambda: page.chosen() == [(1, 1)])
    page.keys(*[Keys.ARROW_RIGHT] * 3)
    page.wait(lambda: page.address().endswith("layer=4&head=1"))
    page.driver.back()
    page.wait(lambda: page.chosen() == [(1, 1)])


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("#model=three&layer=1&head=1", "no model three"),
        ("#model=one&measure=nothing", "no measure nothing"),
        ("#model=one&layer=9&head=1", "no head 9.1 of Model one"),
        ("#model=one&layer=1&head=-1", "no head 1.-1 of Model one"),
        ("#model=one&layer=1", "no head 1. of Model one"),
    ],
)
def test_an_address_that_names_nothing_here_says_so(page, fragment, said):
    page.open(fragment)
    assert page.text("#notice") == f"The address names what this page does not have: {said}."
    assert page.chosen() == []


def test_labels_stay_text(page):
    page.open("#model=two&measure=score&layer=2&head=3")
    assert page.run("return document.querySelectorAll('#model option')[1].textContent") == NASTY
    assert page.text("#detail h2 bdi") == NASTY
    assert NASTY in page.run("return Array.from(document.querySelectorAll('#claims th'), one => one.textContent)")
    assert page.run("return [document.images.length, document.scripts.length]") == [0, 4]
    wanted = page.given["heads"].query("model == 'one' and relation == @FORMULA").iloc[0]
    page.pick("#model", "Model one")
    hover(page, *page.pixel("map-score", int(wanted["layer"]), int(wanted["head"])))
    page.wait(lambda: tooltips(page))
    assert FORMULA.split("\n")[1] in tooltips(page)[0]
    page.type("#search", f"{wanted['layer']}.{wanted['head']}")
    page.find("#table tbody button").click()
    assert FORMULA.split("\n")[1] in page.text("#detail")
    loud = [entry for entry in page.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert loud == []


def downloaded(page, folder, selector, suffix):
    """The file that a click brings."""
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    page.find(selector).click()
    page.wait(lambda: list(folder.glob(f"*{suffix}")))
    (file,) = folder.glob(f"*{suffix}")
    return file


def test_the_table_goes_home_as_csv(page, tmp_path):
    page.pick("#model", page.run("return document.querySelectorAll('#model option')[1].text"))
    page.find("[data-sort=alpha_natural]").click()
    file = downloaded(page, tmp_path, "#csv", ".csv")
    assert file.name == "two_heads.csv"
    own = page.given["heads"].query("model == 'two'").sort_values("alpha_natural", ascending=False, na_position="last")
    columns = ["model", "layer", "head", "label", "relation", "relation_sign"]
    measures = ["score", "alpha_natural", "meaningless_effect", "ships_scaling"]
    write_csv(tmp_path / "expected.txt", own[columns])  # as the published tables are: no formulas
    expected = pd.read_csv(tmp_path / "expected.txt", keep_default_na=False, dtype=str)
    header, *rows = csv.reader(io.StringIO(file.read_bytes().decode()))
    assert header == [*columns, *measures]
    assert [row[:6] for row in rows] == expected.to_numpy().tolist()
    assert any(row[4].startswith("'=HYPERLINK") for row in rows)
    found = np.array([[np.float32(text) if text else np.nan for text in row[6:]] for row in rows], np.float32)
    np.testing.assert_array_equal(found, own[measures].to_numpy("float32"))
    assert np.isnan(found).sum() == 8 * 3 + 20  # nulls are empty, never 0


def test_only_what_the_filter_leaves_is_in_the_csv(page, tmp_path):
    page.type("#search", "3.2")
    assert page.text("#csv") == "Download 1 heads as CSV"
    lines = downloaded(page, tmp_path, "#csv", ".csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [["one", "3", "2"]]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_map_goes_home_as_a_picture(page, tmp_path, suffix):
    place = 2 if suffix == "png" else 3
    selector = f"#figure-meaningless_effect .buttons button:nth-child({place})"
    file = downloaded(page, tmp_path, selector, f".{suffix}")
    assert file.name == f"one_meaningless_effect.{suffix}"
    if suffix == "png":
        picture = plt.imread(file)
        assert picture.shape[1] > 200
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 12
    else:
        words = " ".join(ElementTree.parse(file).getroot().itertext())
        assert "meaningless effect (relative change), Model one" in words
    page.wait(
        lambda: not page.run("return Bokeh.documents[0].get_model_by_name('map-meaningless_effect').title.visible")
    )


def test_every_measure_is_defined_and_has_a_page(page):
    page.find("#table tbody button").click()
    unfold(page)
    frames = page.driver.find_elements("css selector", "#maps figure details")
    assert len(frames) == 5
    for frame in frames:
        assert len(frame.text) > 60
        assert "docs/" in frame.text
    shown = page.run("return Array.from(document.querySelectorAll('#detail dt'), one => one.textContent)")
    assert {"sink α₀", "meaningless effect", "relation φ", "Ships, scaling"} <= set(shown)


def test_links_lead_to_the_folder_beside_the_figures_or_where_the_option_says(browser, tmp_path):
    (tmp_path / "figures").mkdir()
    page = Page(browser, tmp_path / "figures", tables())
    unfold(page)
    link = page.find("#figure-alpha_natural details a").get_attribute("href")
    assert link == (tmp_path / "docs" / "attention_sinks.md").as_uri()
    page = Page(browser, tmp_path, tables(), docs="https://example.org/{page}.html", docs_apart=True)
    unfold(page)
    assert page.find("#figure-score details a").get_attribute("href") == "https://example.org/head_categories.html"


def test_pages_are_named_without_a_link_where_docs_are_not_beside_the_figures(browser, tmp_path):
    (tmp_path / "figures").mkdir()
    page = Page(browser, tmp_path / "figures", tables(), docs_apart=True)
    unfold(page)
    assert page.text("#figure-alpha_natural details code") == "docs/attention_sinks.md"
    page.find("#table tbody button").click()
    named = page.run("return Array.from(document.querySelectorAll('#detail details code'), one => one.textContent)")
    assert "docs/attention_sinks.md" in named
    assert not page.driver.find_elements("css selector", "a[href*='docs/']")
