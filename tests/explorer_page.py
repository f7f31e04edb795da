"""The explorer as its reader has it: what stands on the page, what hands do, and what axe-core finds on any page."""

import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from atlas.analyses.heads import plot_explorer as explorer
from head_tables import options


def faults(driver):
    """What axe-core finds, with all of its rules: a line for each."""
    axe = Path(find_spec("axe_playwright_python").submodule_search_locations[0], "axe.min.js")
    driver.execute_script(axe.read_text(encoding="utf-8") + ";window.axe = axe;")
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(({violations, passes}) => done([violations, passes.length]))"
    )
    assert found[1] > 30  # rules that had something to look at
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found[0]]


class Page:
    """What a reader of the page sees and does."""

    def __init__(self, driver, folder, given, fragment="", **changes):
        self.driver, self.given = driver, given
        html, _ = explorer.draw(given, options(**changes), {})
        self.path = folder / "explorer.html"
        self.path.write_text(html, encoding="utf-8")
        driver.get_log("browser"), driver.get_log("performance")
        self.open(fragment)

    def open(self, fragment=""):
        """The page anew, at an address that ends in `fragment`."""
        self.driver.get("about:blank")
        self.driver.get(self.path.as_uri() + fragment)
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

    def address(self):
        return self.run("return location.hash")
