"""Words of a text in any script, and the one form in which texts are compared.

A word is a run of letters and numbers with their combining marks, cut where Unicode's default word boundaries (UAX #29)
cut it. Scripts written without spaces give no whole words that way: each character (grapheme cluster) of Chinese,
Hiragana, Thai, Lao, Khmer and Burmese is a word of its own, a run of Katakana is one.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import regex

# Invisible characters (joiners, soft hyphens, direction marks, variation selectors) stand inside words, not between.
_RUN = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}\p{Default_Ignorable_Code_Point}]*")
_BOUNDARY = regex.compile(r"\b", regex.WORD)
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
# One letter, drawn in another width or in the form that it has inside a word. Raised, circled and other figures are no
# such forms: 10² is not 102.
_DRAWN = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>")
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u2032\u00b4", "'"))
# Categories of Unicode that carry what a text says: letters, marks, numbers, and what only its reader knows.
_LETTERS = ("L", "M", "N", "Co", "Cn")

NO_WORD = "a text without a word"
UNREAD = "a text of which less than half of the letters belong to words"


@dataclass(frozen=True)
class Word:
    """text: in the form of `fold`; [begin, end): its characters in the text it is from."""

    text: str
    begin: int
    end: int


def fold(text: str) -> str:
    """`text` in the form that is compared: no case, accents composed (NFC), one width, nothing invisible.

    Unicode's canonical caseless matching (The Unicode Standard, D145). Accents and marks stay: ü is neither u nor ö.
    """
    if text.isascii():
        return text.lower()
    drawn = "".join(
        unicodedata.normalize("NFKC", letter) if unicodedata.decomposition(letter).startswith(_DRAWN) else letter
        for letter in text
    )
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", drawn).casefold())
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", folded))


def straight(text: str) -> str:
    """`text` with the straight apostrophe for every typographic one."""
    return text.translate(_APOSTROPHES)


def find_words(text: str) -> list[Word]:
    """[Word] of `text`, in order; they do not overlap."""
    found = []
    for run in _RUN.finditer(text):
        cuts = [0, len(run[0])]
        if not run[0].isascii():
            cuts = sorted({*cuts, *(boundary.start() for boundary in _BOUNDARY.finditer(run[0]))})
        for begin, end in pairwise(cuts):
            if folded := fold(run[0][begin:end]):
                found.append(Word(folded, run.start() + begin, run.start() + end))
    return found


def unread(text: str) -> str | None:
    """Why a text cannot be compared by its words: NO_WORD, UNREAD (counted by other tables of Unicode), or None."""
    found = find_words(text)
    if 2 * sum(_letters(text[word.begin : word.end]) for word in found) < _letters(text):
        return UNREAD
    return None if found else NO_WORD


def scripts(text: str) -> Counter[str]:
    """{script: letters of `text` in it}, as the first words of Unicode's names tell them (LATIN, CJK, DEVANAGARI)."""
    return Counter(unicodedata.name(letter, "unknown").split()[0] for letter in text if letter.isalpha())


def _letters(text: str) -> int:
    if text.isascii():
        return sum(map(str.isalnum, text))
    return sum(unicodedata.category(letter).startswith(_LETTERS) for letter in _INVISIBLE.sub("", text))
