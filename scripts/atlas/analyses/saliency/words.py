"""Words of a text with their places, and whether one text holds another word by word.

Comparison is that of the question-answering benchmarks (SQuAD, TriviaQA): lower case, no articles, no punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.analyses.types import Span

_WORD = re.compile(r"[^\W_]+")
_ARTICLES = frozenset(("a", "an", "the"))
_CLITICS = frozenset(("s", "t", "d", "m", "ll", "re", "ve"))  # what stands behind an apostrophe


@dataclass(frozen=True)
class Word:
    """text: in lower case; [begin, end): its characters in the text it is from."""

    text: str
    begin: int
    end: int


def words(text: str) -> list[Word]:
    """[Word]: the runs of letters and digits of `text` without articles (with them where there is nothing else)."""
    found = [Word(match[0].lower(), *match.span()) for match in _WORD.finditer(text)]
    return [word for word in found if word.text not in _ARTICLES] or found


def find_words(text: str, sought: str, whole: bool = False) -> Span | None:
    """[begin, end) of the first place where `text` holds the words of `sought` in a row; None where it does not.

    whole: nothing else may stand in the text.
    """
    within, wanted = words(text), [word.text for word in words(sought)]
    places = range(1) if whole else range(len(within) - len(wanted) + 1)
    for place in places:
        part = within[place:] if whole else within[place : place + len(wanted)]
        if wanted and [word.text for word in part] == wanted:
            return part[0].begin, part[-1].end
    return None


def find_alias(text: str, aliases: Iterable[str], match: str) -> Span | None:
    """[begin, end) of the first accepted answer in `text`, the longest that starts there; None where there is none.

    match: contains (as whole words) or exact (the text is the accepted answer).
    """
    spans = [span for alias in aliases if (span := find_words(text, alias, whole=match == "exact"))]
    return min(spans, key=lambda span: (span[0], -span[1]), default=None)


def content_words(text: str, stop_words: Collection[str]) -> list[Span]:
    """[(begin, end)] of the words of `text` that are no stop words.

    Words in capitals (US, IT, WHO) are names, unless all of the text is in capitals. What an apostrophe cuts off
    (film's, don't) is no word of its own.
    """
    spoken = text.upper() != text
    spans = []
    for match in _WORD.finditer(text):
        word, begin = match[0], match.start()
        if word.lower() in _CLITICS and text[begin - 1 : begin] in ("'", "\u2019"):
            continue
        name = spoken and len(word) > 1 and word.isalpha() and word.isupper()
        if name or word.lower() not in stop_words:
            spans.append(match.span())
    return spans


def read_word_list(path: str | Path) -> frozenset[str]:
    """The words of a list (any number a line, # starts a comment) in lower case. Raises AtlasError for an empty one."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    found = frozenset(word.lower() for line in lines for word in line.split("#")[0].split())
    if not found:
        raise AtlasError(f"{path}: it holds no word; list the words that carry no content.")
    return found
