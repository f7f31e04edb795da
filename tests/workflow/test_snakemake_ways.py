"""The workflow as others use it: a module of theirs, with a cache, and planned by a bare Snakemake."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

import warm_python
from places import ROOT
from projects import Project, copy_project

HOST = """
configfile: "host.yaml"


module atlas:
    snakefile:
        "{place}/Snakefile"
    config:
        config["atlas"]
{prefix}

use rule * from atlas as atlas_*


rule paper:
    default_target: True
    input:
        "{made}figures/sink_rates.pdf",
        "{made}results/tables/sinks.csv",
"""
# Imports nothing that a bare `pip install snakemake` (with its plugins) does not bring.
BARE = """
import importlib.abc, importlib.metadata, re, runpy, sys

installed = [d.name for d in importlib.metadata.distributions()]
brought, todo = set(), [name for name in installed if name.startswith("snakemake")]
while todo:
    name = todo.pop().lower().replace("_", "-")
    if name in brought:
        continue
    brought.add(name)
    try:
        required = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        continue
    todo += [re.match(r"[A-Za-z0-9_.-]+", line)[0] for line in required if "extra ==" not in line]
packages = importlib.metadata.packages_distributions()
others = {top for top, owners in packages.items() if not any(o.lower().replace("_", "-") in brought for o in owners)}

class Others(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in others:
            raise ModuleNotFoundError(f"a bare Snakemake has no {name}", name=name)

assert {"torch", "transformers", "pyarrow"} <= others  # the plugin for Slurm brings pandas
sys.meta_path.insert(0, Others())
sys.argv = ["snakemake", *sys.argv[1:]]
runpy.run_module("snakemake", run_name="__main__")
"""


def hosted(folder, atlas, prefix=""):
    """A workflow in `folder` that uses the one in `atlas` as a module, with the tiny configuration."""
    folder.mkdir(exist_ok=True)
    line = f'    prefix:\n        "{prefix}"\n' if prefix else ""
    made = f"{prefix}/" if prefix else ""
    (folder / "Snakefile").write_text(HOST.format(place=atlas, prefix=line, made=made))
    tiny = yaml.safe_load((ROOT / "configs" / "tiny.yaml").read_text())
    (folder / "host.yaml").write_text(yaml.safe_dump({"atlas": tiny, "mine": 1}))
    return Project(folder)


def host_run(host, *arguments):
    """Without the file that Project.run hands over."""
    return subprocess.run(
        [warm_python.python(), "-m", "snakemake", "--cores", "2", *arguments],
        cwd=host.folder, env=host.environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip


def test_another_workflow_uses_it_as_a_module_behind_a_prefix(tmp_path, finished):
    """The atlas in a folder of the host's, as a submodule would be: the same bytes as in a run of its own."""
    copy_project(tmp_path / "host" / "atlas")
    host = hosted(tmp_path / "host", "atlas", "deep/down")
    process = host_run(host)
    assert process.returncode == 0, process.stdout
    for name in ("figures/sink_rates.pdf", "results/tables/sinks.csv"):
        assert (host.folder / "deep/down" / name).read_bytes() == (finished.folder / name).read_bytes()
    # Notes of what was read and made stay where the run works.
    assert {path.name for path in (host.folder / "results").iterdir()} <= {"downloads", "equal"}


def test_a_module_without_prefix_is_planned_and_its_configuration_is_checked(tmp_path, fresh_shared):
    host = hosted(tmp_path / "host", fresh_shared.folder)
    process = host_run(host, "-n", "--quiet", "rules")
    assert process.returncode == 0, process.stdout
    assert "atlas_extract_sinks" in process.stdout
    assert "paper" in process.stdout
    config = yaml.safe_load((host.folder / "host.yaml").read_text())
    config["atlas"]["analyses"]["sinks"]["lengt"] = 8
    (host.folder / "host.yaml").write_text(yaml.safe_dump(config))
    process = host_run(host, "-n")
    assert process.returncode != 0
    assert "analyses.sinks: unknown key 'lengt'" in process.stdout, process.stdout


def test_a_plan_needs_nothing_but_snakemake(fresh_shared):
    """As with --sdm conda, where the jobs have an environment of their own."""
    command = [sys.executable, "-c", BARE, *fresh_shared.command("figures/all", "-n", "--quiet", "rules")[3:]]
    process = subprocess.run(command, cwd=fresh_shared.folder, capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode == 0, process.stderr
    assert "extract_sinks" in process.stdout + process.stderr


def test_downloads_come_from_snakemakes_cache(tmp_path):
    """In a second project nothing is downloaded; controls and folders, which it cannot hash, are made as ever."""
    cache = tmp_path / "cache"
    cache.mkdir()
    said = []
    for number in (1, 2):
        project = copy_project(tmp_path / f"project{number}")
        targets = ("results/downloads/datasets/passages", "results/models/tiny-shuffled")
        os.environ["SNAKEMAKE_OUTPUT_CACHE"] = str(cache)
        try:
            process = project.run(*targets, "--cache", "download_dataset", "download_model")
        finally:
            del os.environ["SNAKEMAKE_OUTPUT_CACHE"]
        assert process.returncode == 0, process.stdout
        said.append(process.stdout)
        shutil.rmtree(project.folder)
    assert "to cache" in said[0]
    assert "download_dataset" in said[0]
    assert "to cache" not in said[1]  # nothing new was put there
    assert list(cache.iterdir())


@pytest.mark.parametrize("rule", ["extract_sinks", "plot"])
def test_other_rules_cannot_be_cached(fresh_shared, rule):
    process = fresh_shared.run("figures/sink_rates", "-n", "--cache", rule)
    assert process.returncode != 0
    assert f"--cache {rule}: only download_package" in process.stdout


def test_in_another_directory_the_explorer_names_its_documentation_without_a_link(project, tmp_path):
    """figures/ is not beside docs/ there; where it is, nothing changes. No folder of this machine is in the page."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    beside = (project.folder / "figures" / "explorer.html").read_text()
    (project.folder / "results").rename(elsewhere / "results")
    process = project.run("figures/explorer.html", "--directory", str(elsewhere))
    assert process.returncode == 0, process.stdout
    apart = (elsewhere / "figures" / "explorer.html").read_text()
    assert str(tmp_path) not in apart
    assert '"docs_apart":false' in beside
    assert apart == beside.replace('"docs_apart":false', '"docs_apart":true')
