"""The site: `make docs` finds no broken link, and finds one that is broken. Skipped where mkdocs is not installed."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from places import ROOT


def test_every_page_stands_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r": ([a-z_]+\.md)$", text, re.M)) - {"contributing.md", "changelog.md"}


def test_forms_and_workflows_are_yaml_and_call_what_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text()
    for path in sorted((ROOT / ".github").rglob("*.yml")):
        document = yaml.safe_load(path.read_text())
        for job in (document.get("jobs") or {}).values():
            for step in job["steps"]:
                for target in re.findall(r"^make ([\w-]+)", step.get("run", "")):
                    assert re.search(rf"^{target}:", makefile, re.M), (path, target)


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed: make docs")
def test_the_site_has_no_broken_link_and_would_say_so(tmp_path):
    for name in ("docs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy2(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    good = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write("[nowhere](models.md#nowhere)\n")
    bad = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert bad.returncode != 0
    assert "nowhere" in bad.stderr
