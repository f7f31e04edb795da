"""The gallery shows every figure of the default run, with small pictures that are there."""

import re

import yaml

from places import ROOT

TEXT = (ROOT / "docs" / "gallery.md").read_text()


def test_every_default_figure_has_its_section_and_picture():
    figures = set(yaml.safe_load((ROOT / "config.yaml").read_text())["figures"])
    sections = dict(re.findall(r"^## `(\w+)`\n\n!\[[^]]+\]\(pictures/(\w+)\.png\)$", TEXT, re.M))
    missing = re.search(r"<!-- Not described yet: ([\w, ]+) -->", TEXT)
    missing = set(missing[1].split(", ")) if missing else set()
    assert set(sections) | missing == figures
    assert not set(sections) & missing
    assert all(section == picture for section, picture in sections.items())


def test_pictures_are_there_and_small():
    for picture in re.findall(r"\((pictures/[^)]+)\)", TEXT):
        assert (ROOT / "docs" / picture).stat().st_size < 150_000, picture


def test_every_section_links_to_the_page_that_explains_it():
    for section in re.split(r"^## ", TEXT, flags=re.M)[1:]:
        page = re.search(r"\[How to (?:read|use) it\]\((\w+\.md)", section)[1]
        assert (ROOT / "docs" / page).exists()
