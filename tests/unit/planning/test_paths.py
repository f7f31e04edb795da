"""A file of the project has one name, however the project is reached."""

import os
from pathlib import Path

import pytest

from atlas.planning.paths import in_project


@pytest.fixture
def places(tmp_path, monkeypatch):
    project = tmp_path / "real" / "project"
    (project / "runs" / "one").mkdir(parents=True)
    (project / "tiny").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (project / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(project)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path, project, tmp_path / "link"


def test_a_path_of_the_project_is_the_same_through_a_symlink(places):
    _top, project, link = places
    for base in (project, link):
        for here in (project, link):
            assert in_project("tiny/model", base, here) == "tiny/model"
            assert in_project(base / "tiny/model", base, here) == "tiny/model"
            assert in_project("linked/model", base, here) == "linked/model"  # named as the user names it
    assert in_project(project / "tiny", link, project) == "tiny"


def test_a_path_elsewhere_is_absolute(places):
    top, project, link = places
    assert in_project("/data/model", link, project) == "/data/model"
    assert in_project("~/model", project, project) == str(top / "home" / "model")
    assert in_project("tiny/model", link, top / "elsewhere") == str(project / "tiny" / "model")


def test_a_working_directory_inside_the_project_moves_with_it(places):
    _top, project, link = places
    assert in_project("tiny/model", project, project / "runs" / "one") == "../../tiny/model"
    assert in_project("tiny/model", link, link / "runs" / "one") == "../../tiny/model"
    assert in_project("../shared/model", project, project) == "../shared/model"


def test_the_name_leads_to_the_file_from_the_working_directory(places, monkeypatch):
    top, project, link = places
    (project / "tiny" / "model").write_text("x")
    for here in (project, link, project / "runs" / "one", top / "elsewhere"):
        monkeypatch.chdir(here)
        assert Path(in_project("tiny/model", link, Path(os.getcwd()))).read_text() == "x"
