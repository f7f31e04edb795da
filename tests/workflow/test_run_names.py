"""Runs of several configurations in one folder: what has a name's own place, and what is not done twice."""

import json

import yaml

from projects import digests

TARGETS = ("figures/sink_rates", "results/runs/other/tables/costs.parquet")


def logs(project, run, rule):
    return [path.read_text() for path in sorted(project.folder.glob(f"results/runs/{run}/logs/{rule}/**/*.log"))]


def test_a_named_run_stands_beside_the_other_and_extracts_nothing_twice(project):
    """The same options: no model runs. An option of the extraction changed: it is run again, for this name alone."""
    before = digests(project.folder, "results/metrics/**/*.parquet") | digests(project.folder, "figures/*.*")
    project.write("configs/named.yaml", yaml.safe_dump({"run": {"name": "other"}}))
    files = ("--configfile", "configs/tiny.yaml", "configs/named.yaml")
    process = project.run("figures/sink_rates", *files)
    assert process.returncode == 0, process.stdout
    found = logs(project, "other", "extract_sinks")
    assert found
    assert all("taken over from results/activations/" in text for text in found)
    assert not list(project.folder.glob("results/runs/other/logs/download_model/**/*.log"))  # models are shared
    assert (project.folder / "figures/other/sink_rates.pdf").is_file()
    own = digests(project.folder / "results/runs/other", "metrics/**/*.parquet")
    shared = digests(project.folder / "results", "metrics/**/*.parquet")
    assert own
    assert own.items() <= shared.items()
    assert digests(project.folder, "results/metrics/**/*.parquet") | digests(project.folder, "figures/*.*") == before
    assert project.planned() == {} == project.planned("figures/sink_rates", *files)
    changed = json.dumps({"sinks": {"seed": 7, "inputs": ["random"]}})
    process = project.run("figures/sink_rates", *files, "--config", f"analyses={changed}")
    assert process.returncode == 0, process.stdout
    assert not any("taken over" in text for text in logs(project, "other", "extract_sinks"))
    assert project.planned() == {}


def test_a_misspelt_target_is_told_the_nearest_name(fresh_shared):
    for asked, meant in (
        ("figures/sink_rate", "figures/sink_rates"),
        ("results/tables/head.csv", "results/tables/heads.csv"),
        ("results/models/tinny", "results/models/tiny"),
    ):
        process = fresh_shared.run("-n", asked)
        assert process.returncode != 0
        assert f"{asked} is nothing that this configuration makes; the nearest name is {meant}." in process.stdout
