"""Sentences for users: nothing in them that a terminal would obey, and what other libraries say on one line."""

import pytest

from atlas import json_text
from atlas.errors import AtlasError, reason


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
