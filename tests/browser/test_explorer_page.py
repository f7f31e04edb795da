"""The explorer in a real browser without network: it loads without errors, and everything in it follows the hand."""

import json
import shutil
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest

from atlas.analyses.heads import plot_explorer as explorer
from head_tables import operations, options, tables

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Chromium and its driver (Debian: chromium and chromium-driver)"
)


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    settings = webdriver.ChromeOptions()
    settings.binary_location = BROWSER
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1400,1900"):
        settings.add_argument(f"--{argument}")
    settings.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=settings, service=webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


class Page:
    """What a reader of the page sees and does."""

    def __init__(self, driver, folder, given, **changes):
        self.driver, self.given = driver, given
        html, _ = explorer.draw(given, options(**changes), {})
        path = folder / "explorer.html"
        path.write_text(html, encoding="utf-8")
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(path.as_uri())
        self.wait(lambda: self.run("return document.body.dataset.ready"))

    def run(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def wait(self, condition, limit=30):
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, "gave up waiting"
            time.sleep(0.05)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        return self.find(selector).text

    def type(self, selector, text):
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def pick(self, selector, label):
        from selenium.webdriver.support.ui import Select

        Select(self.find(selector)).select_by_visible_text(label)

    def keys(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def heads(self):
        """The heads of the table's rows, in order."""
        return [button.text for button in self.driver.find_elements("css selector", "#table tbody button")]

    def source(self, name):
        """The columns of one of Bokeh's data sources."""
        code = "const s = Bokeh.documents[0].get_model_by_name(arguments[0]).data;"
        return self.run(code + "return Object.fromEntries(Object.entries(s).map(([k, v]) => [k, Array.from(v)]))", name)

    def image(self, name):
        """The (heads, layers) values that one map shows."""
        code = "const i = Bokeh.documents[0].get_model_by_name(arguments[0]).data.image[0];"
        values, shape = self.run(code + "return [Array.from(i, v => isNaN(v) ? null : v), i.shape]", name)
        return np.array(values, float).reshape(shape)

    def pixel(self, place, x, y):
        """Where a point of a plot is on the screen."""
        return self.run(
            """const plot = Bokeh.documents[0].get_model_by_name(arguments[0]);
            document.getElementById(arguments[0]).scrollIntoView({block: "center"});
            const view = Bokeh.index.find_one_by_id(plot.id), box = view.el.getBoundingClientRect();
            const scales = view.frame;
            return [box.x + scales.x_scale.compute(arguments[1]), box.y + scales.y_scale.compute(arguments[2])];""",
            place, x, y,
        )  # fmt: skip

    def mouse(self, *points):
        """Click on one point of the screen, or drag from the first to the last."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder

        actions = ActionBuilder(self.driver, duration=60)
        pointer = actions.pointer_action
        pointer.move_to_location(*map(int, points[0])).pointer_down()
        for point in points[1:]:
            pointer.move_to_location(*map(int, point)).pause(0.05)
        pointer.pointer_up()
        actions.perform()

    def chosen(self):
        source = self.source("chosen")
        return list(zip(source["layer"], source["head"], strict=True))


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
    assert page.text("#table tr[aria-selected=true] button") == "3.2"
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
    for _ in range(40):  # past the plots and the table's headers
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
    page.run("document.activeElement.blur()")
    started = time.monotonic()
    page.keys(*[Keys.ARROW_RIGHT] * 20)
    assert page.chosen() == [(19, 0)]
    assert (time.monotonic() - started) / 20 < 1
