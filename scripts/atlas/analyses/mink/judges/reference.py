"""The offline judge: 1 + 4 x ROUGE-L F1 of an answer against the gold answer.

A stand-in, not a judgement: it sees shared words in the same order, so a right answer in other words scores low and a
fluent wrong one that repeats the question's words scores well above 1. docs/mink.md says how far it can be trusted.
"""

import numpy as np


def reference_scores(asked):
    """Scores (N,) of [(question, gold answer, answer)], by the package rouge-score with its stemmer."""
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
    return np.array([1 + 4 * scorer.score(gold, answer)["rougeL"].fmeasure for _, gold, answer in asked])
