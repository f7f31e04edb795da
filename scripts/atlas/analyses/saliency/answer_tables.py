"""The published tables of generated answers: one of the samples, one of what was dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from atlas.analyses.types import Keys


def answers_table(samples: pd.DataFrame, keys: Keys, answers_from: str) -> pd.DataFrame:
    """The table qa_answers of one model and data set; keys: its model and dataset."""
    kept = ["sample", "question", "answer", "exact_answer", "correct", "chosen", "weight"]
    counts = {
        "question_tokens": samples["question_tokens"].map(len),
        "answer_tokens": samples["answer_tokens"].map(len),
    }
    strategies = ["random_overlap", "question_strategy", "answer_strategy"]
    return samples[kept].assign(**counts, **samples[strategies], **keys, answers_from=answers_from)


def dropped_table(dropped: Mapping[str, Sequence[str]], questions: int, keys: Keys, answers_from: str) -> pd.DataFrame:
    """The table qa_dropped: one row per reason. dropped: {reason: [ids]}; questions: rows of the data set."""
    rows = [(reason, len(names), ";".join(names)) for reason, names in dropped.items()]
    frame = pd.DataFrame(rows, columns=["reason", "dropped", "samples"])
    return frame.assign(**keys, answers_from=answers_from, questions=questions)
