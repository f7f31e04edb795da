"""config.yaml, its schema and the tables of docs/ say what the options' one home says."""

import re

import pytest
import yaml

from atlas.analyses.registry import ANALYSES, PLOTS
from atlas.config.generate.config_text import config_text
from atlas.config.generate.docs_text import docs_text
from atlas.config.generate.files import generated
from atlas.config.generate.options import Option, analysis_blocks, plot_blocks
from atlas.config.generate.schema_text import schema_text, whole_schema
from atlas.errors import AtlasError
from places import ROOT


@pytest.fixture(scope="module")
def files():
    """{file: what the options give}. Not made when tests are collected, which each of pytest's processes does."""
    return generated(ROOT)


def test_files_are_what_the_options_give(files):
    assert len(files) > 20
    old = [file.name for file, text in files.items() if file.read_text(encoding="utf-8") != text]
    assert old == [], "they are out of step: run `make config`"


def test_no_comment_is_empty(files):
    """An option without a sentence has no line for one."""
    assert [file.name for file, text in files.items() if re.search(r"[ \t]$", text, re.MULTILINE)] == []


def test_texts_hold_what_they_were_made_from():
    assert yaml.safe_load(schema_text()) == whole_schema()
    config = yaml.safe_load(config_text())
    assert list(config["analyses"]) == list(ANALYSES)
    assert {figure.get("plot", key) for key, figure in config["figures"].items()} == set(PLOTS)
    for block in analysis_blocks():
        assert config["analyses"][block.name] == {option.name: plain(option.value) for option in block.options}
    for block in plot_blocks():
        shown = {option.name: plain(option.value) for option in block.options if not option.unshown}
        assert config["figures"][block.name] == shown


def plain(value):
    return yaml.safe_load(yaml.safe_dump(value))


def every_option():
    def inside(where: str, option: Option):
        yield f"{where}.{option.name}", option
        for inner in option.inner:
            yield from inside(f"{where}.{option.name}", inner)

    for section, blocks in (("analyses", analysis_blocks()), ("figures", plot_blocks())):
        for block in blocks:
            for option in block.options:
                yield from inside(f"{section}.{block.name}", option)


def test_every_option_is_explained():
    bare = {where for where, option in every_option() if not (option.why or option.docs)}
    explained = {where for where, option in every_option() if option.why or option.docs}
    # What is inside a mapping may be explained with it.
    assert {where for where in bare if not any(where.startswith(f"{outer}.") for outer in explained)} == set()


def test_every_block_and_every_plot_has_its_table_in_docs():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    tables = re.findall(r"<!-- options: ([\w.]+)(?:: ([\w, ]+))? -->", pages)
    assert {name for name, _ in tables} == {*ANALYSES, *(f"figures.{plot}" for plot in PLOTS)}
    for block in analysis_blocks():
        chosen = [part.strip() for name, parts in tables if name == block.name for part in parts.split(",") if parts]
        assert not chosen or sorted(chosen) == sorted(option.name for option in block.options), block.name


def test_a_table_of_nothing_is_refused():
    with pytest.raises(AtlasError, match="there are no options of 'sink'"):
        docs_text("<!-- options: sink -->\n<!-- end -->\n")
