"""Aliases of YAML that stand for themselves, or for more than anything could hold, are one sentence."""

import random

import pytest
import yaml

from atlas.config import problems
from atlas.config.command_line import typed
from atlas.config.problems import size_problems
from atlas.errors import AtlasError


def bomb(kind, levels=9):
    """Ten to the power of `levels` values in a few hundred letters."""
    opening, closing = ("[", "]") if kind == "list" else ("{", "}")
    lines = [f"a0: &a0 {opening}{closing}" if kind == "mapping" else "a0: &a0 [x]"]
    for level in range(1, levels + 1):
        parts = [f"*a{level - 1}" if kind == "list" else f"k{number}: *a{level - 1}" for number in range(10)]
        lines.append(f"a{level}: &a{level} {opening}{', '.join(parts)}{closing}")
    return yaml.safe_load("figures:\n" + "".join(f"  {line}\n" for line in lines))


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_what_aliases_write_out_is_counted_and_not_written_out(kind):
    (said,) = size_problems(bomb(kind))
    assert said.startswith("figures.a")
    assert "its aliases (*name), written out, are more than 1,000,000 values" in said
    assert list(size_problems(bomb(kind, levels=3))) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("models: &a [*a]", "models.0"),
        ("models: &a {m: *a}", "models.m"),
        ("&a models: {x: [1, &b {y: [*b]}]}", "models.x.1.y.0"),
        ("&a {models: *a}", "models"),
    ],
)
def test_an_alias_inside_of_itself_is_named(text, place):
    assert list(size_problems(yaml.safe_load(text))) == [
        f"{place}: it is an alias (*name) inside of what it stands for; write down what is meant."
    ]


def written_out(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(written_out, inner))


def test_the_count_is_that_of_writing_it_out(monkeypatch):
    draw = random.Random(0)
    verdicts = set()
    for _ in range(200):
        parts = [1, "x", None]
        for _ in range(draw.randint(1, 8)):
            held = draw.choices(parts, k=draw.randint(0, 4))
            parts.append(held if draw.random() < 0.5 else {f"k{number}": part for number, part in enumerate(held)})
        size = written_out(parts[-1])
        for most in (size - 1, size):
            monkeypatch.setattr(problems, "MOST_VALUES", most)
            refused = bool(list(size_problems(parts[-1])))
            assert refused == (size > most and isinstance(parts[-1], (list, dict)) and bool(parts[-1]))
            verdicts.add(refused)
    assert verdicts == {False, True}


def test_what_is_shared_twice_is_no_alias_of_itself():
    assert list(size_problems(yaml.safe_load("a: &a {x: 1}\nb: [*a, *a, {c: *a}]"))) == []


def test_the_command_line_has_no_other_aliases():
    with pytest.raises(AtlasError, match=r"only\.0: it is an alias"):
        typed(["only=&a [*a]"])
    text = yaml.safe_dump(bomb("list")["figures"])
    with pytest.raises(AtlasError, match=r"fonts\.\S*: its aliases .* are more than"):
        typed([f"fonts={text}"])
    assert typed(["key={a: &a [1], b: *a}"]) == {"key": {"a": [1], "b": [1]}}
