"""A figure needs only its models, and one broken model leaves the others' tables and figures."""

import json
import shutil

import pytest

from atlas.analyses.published import read_table
from atlas.analyses.registry import PLOTS
from atlas.results.files import read_provenance
from chart import FIGURE, TABLE, TARGETS

CAPTION = "results/captions/sink_rates.txt"


ALONE = [(plot, "") for plot, record in PLOTS.items() if not record.measures_machine]
WITH_CONTROL = ("claims", ""), ("explorer", "")


@pytest.mark.parametrize(("plot", "option"), [*ALONE, ("explorer", "claims: false")])
def test_a_figure_of_one_model_asks_nothing_of_the_others(fresh_shared, plot, option, tmp_path):
    overlay = tmp_path / "small.yaml"
    overlay.write_text(f"figures: {{small: {{plot: {plot}, models: [tiny], {option}}}}}\n")
    target = f"figures/small.{'html' if PLOTS[plot].page else 'pdf'}"
    process = fresh_shared.run("-n", target, "--configfile", "configs/tiny.yaml", str(overlay))
    assert process.returncode == 0, process.stdout
    assert f"rule plot_{plot}:" in process.stdout
    assert "models/tiny" in process.stdout
    # What a claim measures stands beside the model's control, so that is a part of it; the explorer shows the claims.
    assert ("tiny-shuffled" in process.stdout) is ((plot, option) in WITH_CONTROL)


@pytest.fixture
def broken(chart):
    """The project with one figure, and a third model whose weights are cut off."""
    shutil.copytree(chart.folder / "tiny" / "model", chart.folder / "tiny" / "cut")
    weights = chart.folder / "tiny" / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    entry = {"label": "Cut Llama", "source": {"path": "tiny/cut"}, "parameters": 100000}
    chart.configure(lambda config: config["models"].update(cut=entry))
    return chart


def test_a_broken_model_leaves_the_others_tables_and_figures_and_is_named(broken):
    before = (broken.folder / FIGURE).read_bytes()
    for name in TARGETS:
        broken.remove(name)
    process = broken.run(*TARGETS, "--keep-going")
    assert process.returncode != 0
    assert "was cut off" in process.stdout or "is damaged" in process.stdout or "cut" in process.stdout
    assert "2 tables and figures" in process.stdout or "tables and figures are made of the others" in process.stdout
    frame = read_table(broken.folder / TABLE, "sinks")
    assert set(frame["model"]) == {"tiny", "tiny-shuffled"}
    assert read_provenance(broken.folder / TABLE)["missing"] == ["cut/sinks/passages"]
    assert (broken.folder / FIGURE).read_bytes() == before
    caption = (broken.folder / CAPTION).read_text()
    assert caption.strip().endswith("Not shown, because results of theirs could not be made: Cut Llama.")
    # Once it is mended, both are made of all three.
    shutil.copy2(broken.folder / "tiny" / "model" / "model.safetensors", broken.folder / "tiny" / "cut")
    process = broken.run(*TARGETS)
    assert process.returncode == 0, process.stdout
    assert set(read_table(broken.folder / TABLE, "sinks")["model"]) == {"tiny", "tiny-shuffled", "cut"}
    assert "missing" not in read_provenance(broken.folder / TABLE)
    assert "Not shown" not in (broken.folder / CAPTION).read_text()
    assert broken.planned(*TARGETS) == {}


def test_without_keep_going_a_broken_model_stops_the_run(broken):
    for name in TARGETS:
        broken.remove(name)
    assert broken.run(*TARGETS).returncode != 0
    assert not (broken.folder / TABLE).exists()


def test_a_figure_names_what_stands_beside_its_tables_and_could_not_be_made(project):
    """The explorer shows attention curves where there are some; the second pass of a run that lost them says so."""
    lost = "results/metrics/tiny/attention_weights/questions.parquet"
    for name in (lost, "figures/explorer.html"):
        project.remove(name)
    project.write("results/.unmade.json", json.dumps([lost, "figures/explorer.html"]))
    process = project.run("figures/explorer.html", "--config", "_unmade=results/.unmade.json")
    assert process.returncode == 0, process.stdout
    assert not (project.folder / lost).exists()
    caption = (project.folder / "results" / "captions" / "explorer.txt").read_text()
    assert caption.strip().endswith("Left out, because it could not be made: tiny/attention_weights/questions.")
