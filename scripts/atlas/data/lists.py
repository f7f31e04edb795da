"""Lists that are written as text, as JSON, Python and NumPy write them."""

from __future__ import annotations

import ast
import io
import json
import re
import string
import tokenize
from collections.abc import Iterator
from typing import Any

# What of Python and NumPy may stand around a value, and says nothing of it: array(['a'], dtype=object), np.str_('a').
_AROUND = frozenset(("array", "list", "tuple", "str_", "int64", "int32"))
_MODULES = frozenset(("np", "numpy"))
_NOTHING = frozenset(("None", "null", "nan", "NaN"))
_LOOKS = re.compile(r"[\[{]|[A-Za-z_][\w.]*\(\s*[\[{]")
_SKIPPED = frozenset((tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT))
_OPEN = {"[": "]", "(": ")"}
_BLANK = f"{string.whitespace}\ufeff\u200b"
_CUT = "it was cut short where it was printed (...)"


def listed(text: str) -> list[Any] | None:
    """The list (of texts, numbers, lists and mappings) that a text holds; None for a text that does not look like one.

    A text that begins with "[", "{" or "array([" looks like a list, also as a JSON text of its own; one in round
    brackets is a list where it is a tuple of texts. Raises ValueError, with the reason, for a text that looks like a
    list and cannot be read as one.
    """
    text = text.strip(_BLANK)
    if text.startswith('"'):
        return _quoted(text)
    if text.startswith("("):
        try:
            found = _python(text)
        except ValueError:
            return None  # words in brackets, such as (I Can't Get No) Satisfaction
        return found if all(isinstance(item, str) for item in found) else None
    if not _LOOKS.match(text):
        return None
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return _python(text)
    if not isinstance(loaded, list):
        raise ValueError("it is a mapping")
    return loaded


def _quoted(text: str) -> list[Any] | None:
    """The list in a text that was written as JSON twice."""
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return listed(inner) if isinstance(inner, str) else None


def mapped(text: str) -> dict[Any, Any] | None:
    """The mapping that a text holds, as JSON or Python; None for any other text."""
    text = text.strip(_BLANK)
    if not text.startswith("{"):
        return None
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        try:
            loaded = _whole(text)
        except ValueError:
            return None
    return loaded if isinstance(loaded, dict) else None


def _python(text: str) -> list[Any]:
    found = _whole(text)
    if not isinstance(found, list):
        raise ValueError("it is a mapping" if isinstance(found, dict) else "it is a single value")
    return found


def _whole(text: str) -> Any:
    tokens = _Tokens(text)
    try:
        found = _value(tokens)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if tokens.next:
        raise ValueError(f"{tokens.next!r} follows it")
    return found


class _Tokens:
    """Python's tokens of a text, one by one; next: the coming one, "" at the end; apart: does space precede it?"""

    def __init__(self, text: str) -> None:
        self._tokens = self._read(text)
        self.next, self.apart = "", False
        self.take()

    def take(self) -> str:
        taken = self.next
        self.next, self.apart = next(self._tokens, ("", False))
        return taken

    def expect(self, *wanted: str) -> None:
        if self.next not in wanted:
            where = f"where {' or '.join(wanted)} should"
            raise ValueError(f"{self.next!r} stands {where}" if self.next else "it does not end")
        self.take()

    @staticmethod
    def _read(text: str) -> Iterator[tuple[str, bool]]:
        end = (1, 0)
        try:
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                if token.type not in _SKIPPED and token.string:
                    yield token.string, token.start != end
                    end = token.end
        except (tokenize.TokenError, SyntaxError) as error:
            raise ValueError("a quotation mark or bracket is open") from error


def _value(tokens: _Tokens) -> Any:
    token = tokens.take()
    if token in _OPEN:
        return _items(tokens, token)
    if token == "{":
        return _pairs(tokens)
    if token in _NOTHING:
        return None
    if token in _MODULES and tokens.next == ".":
        tokens.take()
        token = tokens.take()
    if token in _AROUND and tokens.next == "(":
        return _inside(tokens)
    if token in "+-" and token:
        if tokens.apart:
            raise ValueError(f"{token!r} stands there without quotation marks")
        token += tokens.take()
    try:
        found = ast.literal_eval(token)
    except (ValueError, SyntaxError, MemoryError):
        found = b""
    if isinstance(found, str | int | float):
        return found
    raise ValueError(_trouble(token))


def _trouble(token: str) -> str:
    if token == "...":
        return _CUT
    if token[:1] in ("'", '"') or token.isspace():  # the tokenizer gives the space before an open mark by itself
        return "a quotation mark is open"
    return f"{token!r} stands there without quotation marks" if token else "it does not end"


def _items(tokens: _Tokens, opening: str) -> list[Any]:
    """What stands between two brackets, separated by commas, or by white space as NumPy prints."""
    found: list[Any] = []
    separators = set()
    while tokens.next != _OPEN[opening]:
        found.append(_value(tokens))
        if tokens.next == _OPEN[opening]:
            break
        separators.add("," if tokens.next == "," else " ")
        if tokens.next == ",":
            tokens.take()
        elif not tokens.next:
            raise ValueError("it does not end")
        elif not tokens.apart:  # [1939-1945] are no two numbers
            raise ValueError(f"{tokens.next!r} stands behind an item without a comma or a space")
    tokens.take()
    if len(separators) > 1:
        raise ValueError("some of its items are separated by commas and some are not")
    if opening == "(" and "," not in separators:
        raise ValueError("it is no tuple")
    return found


def _pairs(tokens: _Tokens) -> dict[Any, Any]:
    """The mapping behind a curly bracket."""
    found = {}
    while tokens.next != "}":
        key = _value(tokens)
        if tokens.next in (",", "}"):
            raise ValueError("it is a set, in curly brackets")
        tokens.expect(":")
        found[key if isinstance(key, str | int | float) else str(key)] = _value(tokens)
        if tokens.next != "}":
            tokens.expect(",")
    tokens.take()
    return found


def _inside(tokens: _Tokens) -> Any:
    """The value of a call such as array([...], dtype=object); what else is handed over says nothing of it."""
    tokens.expect("(")
    found = _value(tokens)
    while tokens.next == ",":
        tokens.take()
        tokens.take()
        tokens.expect("=")
        _rest(tokens)
    tokens.expect(")")
    return found


def _rest(tokens: _Tokens) -> None:
    """Skip what an option of a call is set to."""
    while tokens.next not in (",", ")", ""):
        tokens.take()
