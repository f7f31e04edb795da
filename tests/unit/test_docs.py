"""What the pages name is there: files, targets of make, links."""

import re

import pytest

from places import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*/README.md"), ROOT / "results" / "README.md"]
)
FOLDERS = "benchmarks|configs|containers|data|docs|envs|profiles|report|rules|schemas|scripts|tests"
# A name of the project; not one that goes on before it, as in results/benchmarks/ or a URL.
NAMED = re.compile(rf"(?<![\w/.}}~-])(?:{FOLDERS})/[\w./*{{}}-]*")
PLACEHOLDER = re.compile(r"NAME|RULE|PLOT|[{}]")


def slug(heading):
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page):
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page):
    named = {name.rstrip(".") for name in NAMED.findall(page.read_text()) if not PLACEHOLDER.search(name)}
    missing = {name for name in named if not any(ROOT.glob(name.rstrip("/")))}
    assert missing == set()


def test_every_target_of_make_that_a_page_names_is_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(), re.M))
        assert named <= targets, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", page.read_text()):
        if target.startswith("http"):
            continue
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), target
        if anchor:
            assert anchor[1:] in anchors(place), target + anchor
