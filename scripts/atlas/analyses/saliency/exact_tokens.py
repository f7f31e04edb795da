"""From characters to tokens: which tokens are the exact question, the exact answer, the random control.

Source: Luo et al. 2026, arXiv 2601.07422 (exact tokens); the random control is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.saliency.words import content_words
from atlas.data.tokens import common_prefix

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from atlas.analyses.types import Ids, Span


def overlapping(places: Sequence[Span], spans: Sequence[Span]) -> list[int]:
    """Indices of the `places` that share a character with one of `spans`."""
    return [i for i, (a, b) in enumerate(places) if any(max(a, begin) < min(b, end) for begin, end in spans)]


def tokens_of(text: str, places: Sequence[Span], span: Span) -> list[int]:
    """Indices of the `places` that share a visible character of `text` with `span`.

    White space at an end of the span is no part of it: many tokenizers write the space before a word into its token,
    so that a span up to this space would have the next word.
    """
    begin, end = span
    marked = text[begin:end]
    begin, end = begin + len(marked) - len(marked.lstrip()), end - len(marked) + len(marked.rstrip())
    return sorted({*overlapping(places, [(begin, end)])} & {*inked(text, places)})


def written_places(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> tuple[str, list[Span] | None]:
    """(text, [(begin, end)]) of generated token ids: the characters of the text that each token stands for.

    Decodes ever longer beginnings, so that the ids stay those that the model wrote. The bytes of one character may be
    spread over several tokens: each of them stands for all of it. Returns (text, None) where the text of a beginning is
    not the beginning of the text, so that no place is sure.
    """
    text, begin = _decode(tokenizer, ids), 0
    places: list[Span] = []
    for count in range(1, len(ids) + 1):
        part = _decode(tokenizer, ids[:count])
        end = max(common_prefix(part, text), begin)
        if part[end:].strip("\ufffd"):
            return text, None
        places.append((begin, end + bool(part[end:])))  # what is left over is a piece of the next character
        begin = end
    return text, places


def _decode(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def question_spans(question: str, given: Sequence[Span] | None, stop_words: Collection[str]) -> tuple[list[Span], str]:
    """([(begin, end)], strategy): the data set's own spans (`spans`) where it has some, else content words."""
    if given is not None and len(given):
        return [(int(begin), int(end)) for begin, end in given], "spans"
    return content_words(question, stop_words), "content_words"


def random_tokens(tokens: Sequence[int], count: int, *seed: int) -> list[int]:
    """`count`, sorted, of all `tokens` of a text, drawn with a seed that is the same for every model."""
    drawn = np.random.default_rng(seed).choice(len(tokens), size=count, replace=False)
    return sorted(tokens[i] for i in drawn)


def inked(text: str, places: Sequence[Span]) -> list[int]:
    """The places without those that hold nothing but white space, as indices."""
    return [i for i, (begin, end) in enumerate(places) if text[begin:end].strip()]
