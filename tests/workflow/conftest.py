"""Copies of the project with tiny data, made once or for each test."""

import sys

import pytest

import warm_python
from chart import TARGETS
from projects import copy_project, made_once


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project, with its results and Snakemake's memory of them."""
    return finished.copy(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path):
    """A project in which nothing has run yet."""
    return copy_project(tmp_path / "fresh")


@pytest.fixture(scope="session")
def fresh_shared(tmp_path_factory):
    """A project in which nothing runs, for dry runs only."""
    return copy_project(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="session")
def charted(request, tmp_path_factory):
    """A project in which one figure has been drawn, by way of two shards of the sinks. Do not change it.

    With --long its runs, and so all faults, are those of the plain interpreter.
    """
    warm = not request.config.getoption("--long")

    def draw(project):
        project.warm = warm
        project.configure(lambda config: config["analyses"]["sinks"].update(shards=2))
        process = project.run(*TARGETS)
        assert process.returncode == 0, process.stdout

    made = made_once(tmp_path_factory, "charted", draw)
    made.warm = warm
    return made


@pytest.fixture
def chart(charted, tmp_path):
    """A copy of the project with one figure."""
    return charted.copy(tmp_path / "project")


@pytest.fixture
def warm(monkeypatch):
    """What starts `sys.executable` starts the Python that has its imports behind it, as Project.run does."""
    monkeypatch.setattr(sys, "executable", warm_python.python())
