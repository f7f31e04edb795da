"""A copy of the project with tiny data, and real `snakemake` runs in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from make_tiny import make

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["Snakefile", "config.yaml", "rules", "scripts", "schemas", "profiles", "report", "envs", "configs", "data"]


class Project:
    """A working copy in which tests may change anything."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def copy(self, folder):
        """A copy with the results and Snakemake's memory of them."""
        shutil.copytree(self.folder, folder, symlinks=True)  # copytree keeps the times of files
        return Project(folder)

    def command(self, *arguments):
        configfile = [] if "--configfile" in arguments else ["--configfile", "configs/tiny.yaml"]
        cores = [] if "--cores" in arguments else ["--cores", "2"]
        return [sys.executable, "-m", "snakemake", *cores, *arguments, *configfile]

    def environment(self):
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments, timeout=1200):
        """The finished process of `snakemake ARGUMENTS`, output and errors together in stdout."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments, environment=None):
        """The same, running in a process group of its own; `said` gives what it says."""
        with (self.folder / "said.txt").open("w") as said:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env={**self.environment(), **(environment or {})},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self):
        return (self.folder / "said.txt").read_text()

    def planned(self, *arguments):
        """{rule: number of jobs} that `snakemake -n` would run, without the target rule itself."""
        output = self.run("-n", *(arguments or ["figures/all"])).stdout
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal", output, re.S)
        if table is None:
            assert "Nothing to be done" in output, output
            return {}
        jobs = dict(line.split() for line in table[1].splitlines())
        jobs.pop("figures/all", None)
        return {rule: int(count) for rule, count in jobs.items()}

    def remove(self, name):
        """Delete a file or a folder that is there."""
        path = self.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, name, old, new):
        """Replace `old`, which must stand there, in a file."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    def configure(self, change):
        """Apply `change` (a function of the dictionary) to configs/tiny.yaml."""
        path = self.folder / "configs" / "tiny.yaml"
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def copy_project(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / part).exists():
            shutil.copy2(ROOT / part, folder / part)
    make(folder / "tiny")
    return Project(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A project in which `figures/all` has run once. Do not change it; use `project` for that."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    process = project.run("figures/all")
    assert process.returncode == 0, process.stdout
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project, with its results and Snakemake's memory of them."""
    return finished.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path):
    """A project in which nothing has run yet."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def fresh_shared(tmp_path_factory):
    """A project in which nothing runs, for dry runs only."""
    return copy_project(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="session")
def charted(tmp_path_factory):
    """A project in which one figure has been drawn, by way of two shards of the sinks. Do not change it."""
    project = copy_project(tmp_path_factory.mktemp("charted"))
    project.configure(lambda config: config["analyses"]["sinks"].update(shards=2))
    process = project.run("figures/sink_rates.pdf")
    assert process.returncode == 0, process.stdout
    return project


@pytest.fixture
def chart(charted, tmp_path):
    """A copy of the project with one figure."""
    return charted.copy(tmp_path / "project")
