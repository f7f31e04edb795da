"""Sentences for users: nothing in them that a terminal would obey, and what other libraries say on one line."""

import ast
import re

import pytest

from atlas import json_text
from atlas.errors import AtlasError, reason
from places import ROOT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("column 'a\x1b[2Jb'", r"column 'a\x1b[2Jb'"), ("half \ud800", r"half \ud800"),
        ("right \u202e", r"right \u202e"),
        ("null \0", r"null \x00"), ("plain", "plain"), ("Zürich 一 $x$", "Zürich 一 $x$"), ("two\nlines", "two\nlines"),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_escaped(text, shown):
    assert str(AtlasError(text)) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such type:\n  x.\n"), "no such type: x"), (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError"),
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (ValueError("y" * 300), "y" * 197 + "..."),
    ],
)  # fmt: skip
def test_what_another_library_says_is_part_of_a_sentence(error, said):
    assert reason(error) == said


@pytest.mark.parametrize("text", ["[" * 200_000, "{", b"\xff", "", '{"a":' * 100_000])
def test_whatever_is_wrong_in_json_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011
        json_text.load(text)


COLLECTIONS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
ANNOTATED = re.compile(r"\b(dict|Mapping|list|set|Sequence|Iterable)\[")


def shown_as_python_writes_it(tree):
    """(line, text) of what stands bare in an AtlasError's sentence, and is a mapping, list or set of its function."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        names = {
            argument.arg
            for argument in (*function.args.args, *function.args.kwonlyargs)
            if argument.annotation and ANNOTATED.match(ast.unparse(argument.annotation))
        }
        single = set()
        for node in ast.walk(function):
            if isinstance(node, ast.AnnAssign) and ANNOTATED.match(ast.unparse(node.annotation)):
                names.add(ast.unparse(node.target))
            if isinstance(node, ast.Assign) and isinstance(node.value, COLLECTIONS):
                names.update(map(ast.unparse, node.targets))
            if isinstance(node, ast.For | ast.comprehension):  # one of them, under their name
                single.add(ast.unparse(node.target))
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "AtlasError":
                for part in ast.walk(call):
                    if isinstance(part, ast.FormattedValue):
                        text = ast.unparse(part.value)
                        if text in names - single or re.match(r"(sorted|list|set|dict)\(.*\)$", text):
                            yield part.lineno, text


def test_a_sentence_shows_no_mapping_or_list_as_python_writes_it():
    code = 'def f(some: list[int]):\n    lost = {}\n    raise AtlasError(f"{lost} {some} {len(some)} {sorted(some)}")\n'
    assert [text for _, text in shown_as_python_writes_it(ast.parse(code))] == ["lost", "some", "sorted(some)"]
    found = [
        f"{path}:{line}: {text}"
        for path in sorted((ROOT / "scripts").rglob("*.py"))
        for line, text in shown_as_python_writes_it(ast.parse(path.read_text()))
    ]
    assert found == []
