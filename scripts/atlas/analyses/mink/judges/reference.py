"""The offline judge: 1 + 4 x ROUGE-L F1 of an answer against the gold answer.

A stand-in, not a judgement: it sees shared words in the same order, so a right answer in other words scores low and a
fluent wrong one that repeats the question's words scores well above 1. docs/mink.md says how far it can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


def reference_scores(asked: Sequence[tuple[str, str, str]]) -> Float[np.ndarray, " answers"]:
    """Scores (N,) of [(question, gold answer, answer)], by the package rouge-score with its stemmer."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    return np.array([1 + 4 * scorer.score(gold, answer)["rougeL"].fmeasure for _, gold, answer in asked])
