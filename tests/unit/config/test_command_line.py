"""Values of `--config` have the types that they have in a file, also inside mappings and lists."""

import copy
import random

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config

from atlas.config.command_line import typed


def read(*arguments):
    """As a run reads them: Snakemake's own reading, and ours over it."""
    config = parse_config(list(arguments))
    update_config(config, copy.deepcopy(typed(arguments)))
    return config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{mink: {k_percent: [20, 5.5], threshold: 3}}", {"mink": {"k_percent": [20, 5.5], "threshold": 3}}),
        ("{'sinks': {'length': 20, 'bos': True}}", {"sinks": {"length": 20, "bos": True}}),
        ("{mink: null, heads: ~}", {"mink": None, "heads": None}),
        ("{sinks: {epsilon: 1.0e-1, x: 2.5E+3, y: 1e5}}", {"sinks": {"epsilon": 0.1, "x": 2500.0, "y": "1e5"}}),
        ("{a: '20', b: \"null\"}", {"a": "20", "b": "null"}),
        ("[1, two, 3.0]", [1, "two", 3.0]),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("{a: {}}", {"a": {}}),
        ("{a: b=c}", {"a": "b=c"}),
        ("{unfinished: ", "{unfinished: "),
        ("5", 5),
        ("1e-3", 0.001),
        ("word", "word"),
    ],
)
def test_a_value_has_the_type_that_it_has_in_a_file(text, expected):
    found = read(f"key={text}")["key"]
    assert found == expected
    assert yaml.safe_dump(found) == yaml.safe_dump(expected)  # 1 is not true


def test_whatever_the_value_it_comes_back_as_it_was_written():
    draw = random.Random(0)

    def value(depth):
        if depth and draw.random() < 0.5:
            items = [value(depth - 1) for _ in range(draw.randint(0, 3))]
            return items if draw.random() < 0.5 else {f"k{number}": item for number, item in enumerate(items)}
        return draw.choice([0, -7, 2.5, 1e-7, True, False, None, "text", "20", "true", "null", "", "a: b", "1e5", "é"])

    for _ in range(500):
        config = {"k0": value(3)}
        text = yaml.safe_dump(config, default_flow_style=True, allow_unicode=True, width=10**9).strip()
        assert read(f"analyses={text}")["analyses"] == config, text
