"""What a model answers to the questions of a depth data set: prompts in, one row per answer out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from atlas.analyses.mink.depth_graph import prediction_rows
from atlas.analyses.mink.scored_texts import chat_prompt
from atlas.data.tokens import texts_of
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN, Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from atlas.data.chat import Prompter
    from atlas.models.generation import Answer


class PredictionOptions(TypedDict):
    """The block analyses.mink.predictions: how many D3 questions (None: all), and tokens of an answer by depth."""

    questions: int | None
    seed: int
    max_new_tokens: list[int]
    batch_size: int


def question_prompts(
    prompter: Prompter,
    table: pd.DataFrame,
    predictions: PredictionOptions,
    *,
    template: str,
    system: str | None,
    limits: Limits,
) -> tuple[list[tuple[int, tuple[int, ...], int]], dict[str, int]]:
    """([(number, ids, max_new_tokens)], dropped) of the questions that are to be answered.

    dropped: {reason: questions} that the model cannot be given together with their answer. Raises AtlasError where a
    depth has no max_new_tokens, and where no question is left.
    """
    most = predictions["max_new_tokens"]
    if len(most) < table["depth"].max():
        raise AtlasError(
            f"analyses.mink.predictions.max_new_tokens has {len(most)} values, but the data set has questions of "
            f"depth {table['depth'].max()}; give one for each depth."
        )
    dropped = {LONG: 0, UNKNOWN: 0}
    found = []
    for number in prediction_rows(table, predictions["questions"], predictions["seed"]):
        ids = tuple(chat_prompt(prompter, table["question"][number], template=template, system=system))
        new_tokens = most[table["depth"][number] - 1]
        objection = limits.objection(ids, new_tokens)
        if objection is None:
            found.append((number, ids, new_tokens))
        else:
            dropped[objection] = dropped.get(objection, 0) + 1
    if not found:
        counts = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        raise AtlasError(
            f"none of the questions can be asked ({counts}): {limits.describe()}; lower "
            "analyses.mink.predictions.max_new_tokens or take another data set."
        )
    return found, dropped


def answers_frame(answers: Sequence[Answer], table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """A frame with number, id, depth, prediction, tokens (without the end token), stop and prompt_tokens."""
    return pd.DataFrame(
        {
            "number": [answer.number for answer in answers],
            "id": [table["id"][answer.number] for answer in answers],
            "depth": [int(table["depth"][answer.number]) for answer in answers],
            "prediction": [text.strip() for text in texts_of(tokenizer, [answer.ids for answer in answers])],
            "tokens": [len(answer.ids) for answer in answers],
            "stop": [answer.stop for answer in answers],
            "prompt_tokens": [answer.prompt_tokens for answer in answers],
        }
    )
