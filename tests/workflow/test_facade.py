"""The analyses from Python: the numbers of the workflow, units and provenance, and one sentence for what is wrong."""

import json
import subprocess
import sys

import pandas as pd
import pytest

import atlas
from atlas.analyses import registry
from atlas.errors import AtlasError
from atlas.facade import units
from places import ROOT

OPTIONS = {"length": 16, "sequences": 12, "batch_tokens": 64, "bootstrap": 200}


def test_a_table_from_python_is_that_of_the_workflow(finished, tmp_path, warm):
    """The model's rows and those of its control; asked again, nothing is made anew."""
    tiny = finished.folder / "tiny"
    texts = (tiny / "passages.txt").read_text().splitlines()
    found = atlas.sinks(tiny / "model", texts, folder=tmp_path / "atlas", control=True, cores=2, **OPTIONS)
    wanted = pd.read_parquet(finished.folder / "results/tables/sinks.parquet")
    assert found["model"].nunique() == wanted["model"].nunique() == 2
    numbers = [name for name in wanted if name not in ("model", "dataset")]
    pd.testing.assert_frame_equal(found[numbers], wanted[numbers])
    assert found.attrs["units"]["sink_rate"] == "share"
    assert len(found.attrs["provenance"]) == 2
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "atlas/results").rglob("*.parquet")}
    atlas.sinks(tiny / "model", texts, folder=tmp_path / "atlas", control=True, cores=2, **OPTIONS)
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "atlas/results").rglob("*.parquet")}


def test_a_finished_run_is_read_with_units(finished):
    frame = atlas.read("heads", finished.folder)
    pd.testing.assert_frame_equal(frame, pd.read_parquet(finished.folder / "results/tables/heads.parquet"))
    assert frame.attrs["file"].endswith("results/tables/heads.parquet")
    with pytest.raises(AtlasError, match=r"no table 'head'; did you mean 'heads'"):
        atlas.read("head", finished.folder)


def test_what_is_wrong_is_a_sentence(finished, tmp_path):
    model, options = finished.folder / "tiny" / "model", {"folder": tmp_path / "atlas"}
    with pytest.raises(AtlasError, match="no folder or file"):
        atlas.sinks("nowhere", ["w1"], **options)
    with pytest.raises(AtlasError, match="name the commit"):
        atlas.sinks("owner/name@main", ["w1"], **options)
    with pytest.raises(AtlasError, match="no rows"):
        atlas.sinks(model, [], **options)
    with pytest.raises(AtlasError, match="unknown key 'lenght'; did you mean 'length'"):
        atlas.sinks(model, ["w1"], lenght=3, **options)
    with pytest.raises(AtlasError, match="no table 'sink'"):
        atlas.table("sink", model, ["w1"], **options)


@pytest.mark.parametrize("table", sorted(registry.TABLES))
def test_every_column_has_its_line(table):
    assert set(registry.TABLES[table]) <= set(units(table))


def test_an_installed_library_brings_the_workflow(tmp_path):
    """From another folder, with nothing of this checkout on the path."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(tmp_path / "site"), str(ROOT)], check=True, timeout=300)
    code = "import atlas; from atlas.facade import project, units; print(project()); assert units('sinks'); atlas.sinks"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip().endswith("atlas/_workflow")


def test_the_notebook_runs_from_nothing_to_a_figure_with_the_tables_numbers(finished, tmp_path, monkeypatch, warm):
    """Its cells in order, with the tiny model in place of the parameters."""
    monkeypatch.chdir(tmp_path)
    cells = [
        cell
        for cell in json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    tiny, names = finished.folder / "tiny", {}
    for cell in cells:
        exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= {"model": tiny / "model", "texts": tiny / "passages.txt", "options": OPTIONS}
    wanted = pd.read_parquet(finished.folder / "results/tables/sinks.parquet")
    wanted = wanted[wanted["input"] == "natural"].groupby(["model", "layer"], sort=False)["sink_rate"].mean()
    assert names["by_layer"].to_numpy().T.ravel().tolist() == wanted.tolist()
    assert (tmp_path / "sinks.pdf").read_bytes().startswith(b"%PDF")
