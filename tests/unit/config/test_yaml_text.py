"""Keys that stand twice in a file are named, each with its lines; merged and aliased ones are not meant."""

import pytest
import yaml

from atlas.yaml_text import load, repeated_keys
from places import ROOT

# text -> keys that stand twice
CASES = {
    "a: 1\nb: 2\na: 3\n": ["a"],
    "a: {b: 1, b: 2}\n": ["a.b"],
    "a:\n  - {c: 1}\n  - c: 1\n    d: 2\n    c: 3\n": ["a.1.c"],
    "a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: *x\n": [],
    "'1': 1\n1: 2\n": [],  # a text and a number
    '{"a": 1, "a": 2}': ["a"],
    "a: [": [],  # not YAML: said by whoever reads it
    "": [],
}


@pytest.mark.parametrize("text", CASES)
def test_repeated_keys_are_named(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    said = list(repeated_keys(path))
    assert [sentence.split(": ", 1)[1].split(" stands")[0] for sentence in said] == CASES[text]
    assert all(str(path) in sentence and " in line " in sentence for sentence in said)


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))], ids=lambda p: p.name
)
def test_own_files_say_everything_once_and_are_read_as_always(path):
    assert list(repeated_keys(path)) == []
    assert load(path.read_text()) == yaml.safe_load(path.read_text())
