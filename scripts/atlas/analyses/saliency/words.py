"""Whether one text holds another word by word, and which of its words carry content.

Comparison is that of the question-answering benchmarks (SQuAD, TriviaQA): no case, no articles, no punctuation. What a
word is, in any script, says data/words.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.data.words import Word, fold, straight, unread
from atlas.data.words import find_words as all_words
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.analyses.types import Span

_ARTICLES = frozenset(("a", "an", "the"))
_CLITICS = frozenset(("s", "t", "d", "m", "ll", "re", "ve"))  # what stands behind an apostrophe


def words(text: str) -> list[Word]:
    """[Word] of `text` without articles (with them where there is nothing else)."""
    found = all_words(text)
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
    read = [alias for alias in aliases if unread(alias) is None]
    spans = [span for alias in read if (span := find_words(text, alias, whole=match == "exact"))]
    return min(spans, key=lambda span: (span[0], -span[1]), default=None)


def content_words(text: str, stop_words: Collection[str]) -> list[Span]:
    """[(begin, end)] of the words of `text` that are no stop words.

    Words in capitals (US, IT, WHO) are names, unless all of the text is in capitals. What an apostrophe cuts off
    (film's, don't) is no word of its own.
    """
    spoken = text.upper() != text
    spans = []
    for word in all_words(text):
        written = text[word.begin : word.end]
        if word.text in _CLITICS and straight(text[word.begin - 1 : word.begin]) == "'":
            continue
        name = spoken and len(written) > 1 and written.isalpha() and written.isupper()
        if name or word.text not in stop_words:
            spans.append((word.begin, word.end))
    return spans


def read_word_list(path: str | Path) -> frozenset[str]:
    """The words of a list (any number a line, # starts a comment), folded.

    Raises AtlasError for an empty list, and for an entry that no word of a text can be.
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    found = frozenset(fold(word) for line in lines for word in line.split("#")[0].split())
    if not found:
        raise AtlasError(f"{path}: it holds no word; list the words that carry no content.")
    for word in sorted(found):
        if [part.text for part in all_words(word)] != [word]:
            raise AtlasError(
                f"{path}: {word!r} is no single word of a text (docs/saliency.md says what a word is), so nothing "
                "would be left out for it; write its parts, or remove it."
            )
    return found
