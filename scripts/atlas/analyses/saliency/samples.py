"""From generated answers to the samples of the saliency analysis: right or wrong, chosen or not, exact tokens.

Source: Luo et al. 2026, arXiv 2601.07422. No model is needed here: what a model says when it is asked for the exact
answer comes in as text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.saliency.exact_tokens import inked, question_spans, random_tokens, tokens_of, written_places
from atlas.analyses.saliency.prompts import Asked, exact_in
from atlas.analyses.saliency.words import find_alias
from atlas.data.words import UNREAD, unread
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.typing import ArrayLike
    from transformers import PreTrainedTokenizerBase

    from atlas.analyses.types import Span

_WRONG_SHARE = 4  # of a sample, one in so many is kept for wrong answers
_UNREAD = f"answer is {UNREAD}"
_EMPTY, _UNMAPPED, _NO_TOKEN = "empty answer", "answer cannot be mapped to its tokens", "no exact question token"


@dataclass(frozen=True)
class Judged:
    """One usable answer.

    asked: its prompt. ids: its tokens; places: the characters of `text` that each stands for. text: without white space
    around it. span: of the accepted answer inside, None for a wrong one. question_tokens: indices in the prompt of E_Q;
    all_question_tokens: of the whole question. strategy: how E_Q was found.
    """

    asked: Asked
    ids: tuple[int, ...]
    places: tuple[Span, ...]
    text: str
    span: Span | None
    question_tokens: list[int]
    all_question_tokens: list[int]
    strategy: str


class Report(TypedDict):
    """{reason: ids of the questions dropped}, and how many question spans have no token of their own."""

    dropped: dict[str, list[str]]
    lost_spans: int


def judge(
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    asked: Sequence[Asked],
    answers: pd.DataFrame,
    *,
    match: str,
    stop_words: Collection[str],
) -> tuple[list[Judged], Report]:
    """([Judged], report) of the answers (frame with number and tokens) to the prompts `asked`.

    Raises AtlasError where no answer can be used.
    """
    dropped: dict[str, list[str]] = {_EMPTY: [], _UNMAPPED: [], _NO_TOKEN: []}
    lost, usable = 0, []
    given = table["question_spans"] if "question_spans" in table else [None] * len(table)
    written = dict(zip(answers["number"], answers["tokens"], strict=True))
    for prompt in asked:
        number = prompt.number
        question, ids = table["question"][number], tuple(int(token) for token in written[number])
        whole, places = written_places(tokenizer, ids)
        text, start = whole.strip(), len(whole) - len(whole.lstrip())
        if not text or places is None:
            dropped[_UNMAPPED if text else _EMPTY].append(table["id"][number])
            continue
        if unread(text) == UNREAD:
            dropped.setdefault(_UNREAD, []).append(table["id"][number])
            continue
        spans, strategy = question_spans(question, given[number], stop_words)
        found = [tokens_of(question, prompt.places, span) for span in spans]
        lost += sum(not tokens for tokens in found)
        exact = sorted({token for tokens in found for token in tokens})
        if not exact:
            dropped[_NO_TOKEN].append(table["id"][number])
            continue
        usable.append(
            Judged(
                asked=prompt,
                ids=ids,
                places=tuple((max(a - start, 0), max(min(b - start, len(text)), 0)) for a, b in places),
                text=text,
                span=find_alias(text, table["answers"][number], match),
                question_tokens=exact,
                all_question_tokens=inked(question, prompt.places),
                strategy=strategy,
            )
        )
    if not usable:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items() if names)
        raise AtlasError(f"none of {len(asked)} answers can be used ({counts}); see docs/saliency.md.")
    return usable, {"dropped": dropped, "lost_spans": lost}


def select(
    correct: ArrayLike, samples: int, seed: int
) -> tuple[Bool[np.ndarray, " answers"], Float[np.ndarray, " answers"]]:
    """(chosen, weight) of answers, given which are `correct` (bool).

    All right answers and so many wrong ones drawn with `seed` that there are `samples`. Where right answers abound,
    they are drawn too, so that a quarter of the sample is wrong. weight: answers of that kind for each chosen one.
    """
    is_right = np.asarray(correct, dtype=bool)
    right, wrong = np.flatnonzero(is_right), np.flatnonzero(~is_right)
    least = min(len(wrong), max(samples // _WRONG_SHARE, samples - len(right)))
    rng = np.random.default_rng(seed)
    chosen, weight = np.zeros(len(is_right), dtype=bool), np.zeros(len(is_right))
    for stratum, size in ((wrong, least), (right, min(len(right), samples - least))):
        if size:
            picked = rng.choice(stratum, size=size, replace=False)
            chosen[picked] = True
            weight[picked] = len(stratum) / size
    return chosen, weight


def sample_rows(
    judged: Sequence[Judged],
    chosen: Bool[np.ndarray, " answers"],
    weight: Float[np.ndarray, " answers"],
    replies: Mapping[int, str],
    table: pd.DataFrame,
    prefix: int,
    seed: int,
) -> pd.DataFrame:
    """The samples as a frame, one row per usable answer; columns in docs/saliency.md.

    replies: {number of a row: what the model gave as exact answer}. A wrong answer that was not chosen has no exact
    answer (empty list and strategy).
    """
    rows = []
    for item, picked, own_weight in zip(judged, chosen, weight, strict=True):
        number = item.asked.number
        span, strategy = _answer_span(item, picked, replies.get(number))
        exact = [] if span is None else tokens_of(item.text, item.places, span)
        start, questions = len(item.asked.ids), item.question_tokens
        # Nothing behind the last exact token can bear on it.
        length = exact[-1] + 1 if exact else len(item.ids)
        control = random_tokens(item.all_question_tokens, len(questions), seed, number)
        rows.append(
            {
                "sample": table["id"][number],
                "question": table["question"][number],
                "answer": item.text,
                "correct": item.span is not None,
                "chosen": bool(picked),
                "weight": float(own_weight),
                "prefix": prefix,
                "ids": np.array([*item.asked.ids, *item.ids[:length]], dtype=np.int32),
                "question_tokens": np.array(questions, dtype=np.int32),
                "answer_tokens": np.array([start + token for token in exact], dtype=np.int32),
                "random_tokens": np.array(control, dtype=np.int32),
                "random_overlap": len(set(control) & set(questions)),
                "exact_answer": "" if span is None else item.text[slice(*span)],
                "question_strategy": item.strategy,
                "answer_strategy": strategy,
            }
        )
    return pd.DataFrame(rows)


def _answer_span(item: Judged, picked: bool, reply: str | None) -> tuple[Span | None, str]:
    """([begin, end) of the exact answer, how it was found)."""
    if item.span is not None:
        return item.span, "alias"
    if not picked:
        return None, ""
    span = None if reply is None else exact_in(item.text, reply)
    return (span, "self_extraction") if span else ((0, len(item.text)), "whole_answer")
