"""Answered questions as saliency reads them: token ids, the chosen token sets, and what all of them share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from atlas.errors import AtlasError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from jaxtyping import Int


@dataclass(frozen=True)
class AnsweredSample:
    """One question with the model's answer.

    number: row of the file; ids: prefix, question and answer up to the last exact answer token, which the probe reads;
    question, answer, random: positions in ids of the exact question tokens E_Q, of the exact answer tokens E_A and of
    the random question tokens.
    """

    number: int
    ids: tuple[int, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...]
    random: tuple[int, ...]

    @property
    def first(self) -> int:
        """The first position that some flow ends in, or that predicts an answer token."""
        return min(min((*self.question, *self.random)) + 1, min(self.answer) - 1)


class _Row(NamedTuple):
    """What is read of a row of the samples file."""

    sample: str
    ids: Int[np.ndarray, " tokens"]
    question_tokens: Int[np.ndarray, " question"]
    answer_tokens: Int[np.ndarray, " answer"]
    random_tokens: Int[np.ndarray, " question"]


def answered_samples(frame: pd.DataFrame) -> tuple[list[AnsweredSample], tuple[int, ...]]:
    """([AnsweredSample] of the chosen rows, ids that all of them begin with) of a qa_samples frame.

    Raises AtlasError for a file without chosen rows, and names the sample whose token sets do not fit its text.
    """
    if not frame["chosen"].any():
        raise AtlasError("There is no answered question to measure; add questions or raise analyses.saliency.samples.")
    prefix = int(frame["prefix"].iloc[0])
    shared = _plain(frame["ids"].iloc[0])[:prefix]
    return [_sample(number, row, shared) for number, row in enumerate(frame.itertuples()) if row.chosen], shared


def _sample(number: int, row: _Row, shared: tuple[int, ...]) -> AnsweredSample:
    ids = _plain(row.ids)
    sets = {name: _plain(getattr(row, f"{name}_tokens")) for name in ("question", "answer", "random")}
    for name, positions in sets.items():
        if not positions or min(positions) < 0 or max(positions) >= len(ids):
            told = ", ".join(map(str, positions)) or "none"
            raise AtlasError(f"Sample {row.sample!r}: its {name} tokens ({told}) do not lie in its text.")
    if min(sets["answer"]) <= max((*sets["question"], *sets["random"])):
        raise AtlasError(f"Sample {row.sample!r}: its exact answer tokens do not follow those of its question.")
    if ids[: len(shared)] != shared:
        raise AtlasError(
            f"Sample {row.sample!r}: its text does not begin with the {len(shared)} tokens that all share."
        )
    return AnsweredSample(number, ids[: max(sets["answer"]) + 1], **sets)


def _plain(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
