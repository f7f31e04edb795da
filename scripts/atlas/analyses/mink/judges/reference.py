"""The offline judge: 1 + 4 x ROUGE-L F1 of an answer against the gold answer.

A stand-in, not a judgement: it sees shared words in the same order, so a right answer in other words scores low and a
fluent wrong one that repeats the question's words scores well above 1. docs/mink.md says how far it can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.data.words import NO_WORD, find_words, unread

if TYPE_CHECKING:
    from jaxtyping import Float


def reference_scores(asked: Sequence[tuple[str, str, str]]) -> Float[np.ndarray, " answers"]:
    """Scores (N,) of [(question, gold answer, answer)] by the package rouge-score; NaN where `refused` says why."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Words())
    return np.array(
        [
            np.nan if refused(gold, answer) else 1 + 4 * scorer.score(gold, answer)["rougeL"].fmeasure
            for _, gold, answer in asked
        ]
    )


def refused(gold: str, answer: str) -> str | None:
    """Why an answer gets no score: its words, or those of the gold answer, are not what the text says. None: it does.

    An answer without any word is wrong, as an empty one is.
    """
    if reason := unread(gold):
        return f"the gold answer is {reason}"
    reason = unread(answer)
    return f"the answer is {reason}" if reason and reason != NO_WORD else None


class _Words:
    """What rouge-score asks for words; in ASCII they are those of its own tokenizer, English endings taken off.

    The stemmer knows English alone, so words with other letters stay as they are.
    """

    def __init__(self) -> None:
        from nltk.stem import porter

        self._stemmer = porter.PorterStemmer()

    def tokenize(self, text: str) -> list[str]:
        found = [word.text for word in find_words(text)]
        return [self._stemmer.stem(word) if word.isascii() and len(word) > 3 else word for word in found]
