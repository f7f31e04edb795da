"""The page about a whole run in a real browser: figures and captions are seen at once, on any screen."""

import matplotlib.pyplot as plt
import pytest

from atlas.analyses.overview import Drawn, Run, page
from explorer_page import faults
from made_figures import configuration
from made_tables import tables_of

CAPTION = "Sink rates of 24 sequences, with 95% intervals. " * 6


@pytest.fixture
def opened(browser, tmp_path):
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.plot([1, 2, 3])
    figure.savefig(tmp_path / "sink_rates.png", dpi=200)
    plt.close(figure)
    claims = tables_of(configuration(["Alpha", "Beta"], "{}"))[0]["claims"]
    record = {
        "parameters": 1,
        "dtype": "float32",
        "weights_sha256": "ab" * 32,
        "source": {"path": "x"},
        "notes": ["n " * 60],
    }
    run = Run(
        {key: {"label": f"Model {key}", "record": record} for key in ("m0", "m1")},
        {},
        {"sinks": {"epsilon": 0.3}},
        [Drawn("sink_rates", "Attention sinks", tmp_path / "sink_rates.png", CAPTION)],
        claims,
        {"numpy": "2.4.6"},
    )
    path = tmp_path / "overview.html"
    path.write_text(page(run), encoding="utf-8")
    yield path
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [1280, 390])
def test_figures_and_captions_are_seen_and_nothing_overflows(browser, opened, width):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(opened.as_uri())
    assert browser.find_element("css selector", "figcaption").text == CAPTION.strip()
    shown = browser.execute_script("const one = document.images[0]; return [one.naturalWidth, one.width, innerWidth]")
    assert shown[0] == 1400
    assert 300 < shown[1] <= shown[2] == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert faults(browser) == []
