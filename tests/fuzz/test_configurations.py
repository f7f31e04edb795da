"""Configurations with values, keys and types that nobody meant."""

import json
import math

import yaml
from hypothesis import given
from hypothesis import strategies as st

from atlas.config.command_line import typed
from configurations import check, merged, tiny
from hostile import NUMBERS, Refused, answer, examples, mutated, nasty_texts, values
from places import ROOT

PAPER = merged(tiny(), yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text()))
SECTIONS = sorted(tiny())


def leaves(value, where=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, (dict, list)):
        yield where, value
    for key, inner in items:
        yield from leaves(inner, (*where, key))


def check_accepted(config):
    """What any configuration that passes must be, said without its schema."""
    json.dumps(config, allow_nan=False)  # params of rules are kept as such
    keys = []
    for where, value in leaves(config):
        keys += where
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert math.isfinite(value), (where, value)
            assert abs(value) <= 2**63, (where, value)
    for section in ("models", "datasets", "figures"):
        for key in config[section]:
            assert isinstance(key, str), (section, key)
            assert not set(key) & set("/\\\0\n {}*?"), (section, key)  # part of paths, and of wildcards
            assert key not in (".", "..")
    for section in ("models", "datasets"):
        for entry in config[section].values():
            assert entry["label"].strip()
            assert entry["label"].isprintable()
    for figure in config["figures"].values():
        assert set(figure.get("models") or ()) <= set(config["models"]), figure


@examples(60, 0.2)
@given(st.data())
def test_a_configuration_is_sound_or_refused(data):
    section = data.draw(st.sampled_from(SECTIONS))
    hostile = st.one_of(values, st.sampled_from([*NUMBERS, "all", "tiny", "tiny-shuffled", [], {}, None]))
    changed = data.draw(mutated({section: tiny()[section]}, hostile))
    changed = {**tiny(), **(changed if isinstance(changed, dict) else {section: changed})}
    found = answer(check, "{}", changed)
    if not isinstance(found, Refused):
        check_accepted(found)


@examples(30, 0.05)
@given(st.data())
def test_a_number_is_finite_and_bounded_wherever_it_stands(data):
    places = [
        where for where, value in leaves(tiny()) if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    where = data.draw(st.sampled_from(places))
    number = data.draw(st.sampled_from(NUMBERS))
    changed = merged(tiny())
    inner = changed
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = number
    found = answer(check, "{}", changed)
    if not isinstance(found, Refused):
        check_accepted(found)


@examples(60, 0.02)
@given(st.lists(st.tuples(st.sampled_from(["models", "x", "analyses", ""]), nasty_texts | values.map(json.dumps))))
def test_the_command_line_is_read_or_left(pairs):
    found = answer(typed, [f"{key}={text}" for key, text in pairs])
    if isinstance(found, Refused):  # an alias inside of itself
        return
    assert isinstance(found, dict)
    if all(isinstance(key, str) for key in found):
        checked = answer(check, "{}", {**tiny(), **found})
        if not isinstance(checked, Refused):
            check_accepted(checked)
