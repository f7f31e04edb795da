"""What a model answers to the questions of a depth data set: prompts in, one row per answer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import pandas as pd

from atlas.analyses.mink.depth_graph import predecessors, prediction_rows
from atlas.analyses.mink.score_gaps import ZERO_SHOT
from atlas.analyses.mink.scored_texts import chat_prompt
from atlas.data.tokens import texts_of
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN, Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from atlas.data.chat import Prompter
    from atlas.models.generation import Answer


# What stands before a question: nothing, or the questions that it builds on with gold answers or the model's own.
GOLD, PREDICTED = "gold", "predicted"
NO_ANSWERS = "without an answer to what it builds on"
_LEAD, _ASKED = "Questions that the last one builds on, with their answers:", "The question to answer:"


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
        raise AtlasError(
            f"none of the questions can be asked ({_counted(dropped)}): {limits.describe()}; lower "
            "analyses.mink.predictions.max_new_tokens or take another data set."
        )
    return found, dropped


def told_question(question: str, known: Sequence[tuple[str, str]]) -> str:
    """`question` behind the questions that it builds on and their answers, [(question, answer)]."""
    pairs = "".join(f"Q: {asked}\nA: {answer}\n\n" for asked, answer in known)
    return f"{_LEAD}\n\n{pairs}{_ASKED}\n{question}"


def context_prompts(
    prompter: Prompter,
    table: pd.DataFrame,
    answers: pd.DataFrame,
    kinds: Sequence[str],
    predictions: PredictionOptions,
    *,
    template: str,
    system: str | None,
    limits: Limits,
) -> tuple[list[tuple[int, tuple[int, ...], int]], list[tuple[str, int]], dict[str, dict[str, int]]]:
    """([(place, ids, max_new_tokens)], [(kind, row)] by place, {kind: {reason: questions dropped}}).

    answers: the frame of zero-shot answers, whose questions are asked again if they build on others. kinds: GOLD (the
    data set's answers of these) and PREDICTED (those of `answers`). Source: Ko et al. 2024, arXiv 2406.19502.
    Raises AtlasError where no question is left.
    """
    own = dict(zip(answers["number"], answers["prediction"], strict=True))
    gold = dict(enumerate(table["answer"]))
    below = predecessors(table)
    found: list[tuple[int, tuple[int, ...], int]] = []
    asked: list[tuple[str, int]] = []
    dropped = {kind: {NO_ANSWERS: 0, LONG: 0, UNKNOWN: 0} for kind in kinds}
    for kind in kinds:
        known: Mapping[int, str] = gold if kind == GOLD else own
        for row in (number for number in answers["number"].tolist() if below[number]):
            pairs = [(table["question"][other], known[other]) for other in below[row] if other in known]
            if not pairs:
                dropped[kind][NO_ANSWERS] += 1
                continue
            text = told_question(table["question"][row], pairs)
            ids = tuple(chat_prompt(prompter, text, template=template, system=system))
            new_tokens = predictions["max_new_tokens"][table["depth"][row] - 1]
            objection = limits.objection(ids, new_tokens)
            if objection is None:
                found.append((len(asked), ids, new_tokens))
                asked.append((kind, row))
            else:
                dropped[kind][objection] = dropped[kind].get(objection, 0) + 1
    if not found:
        counts = "; ".join(f"{kind}: {_counted(lost)}" for kind, lost in dropped.items())
        raise AtlasError(
            f"analyses.mink.prompts: no question can be asked behind those that it builds on ({counts}): "
            f"{limits.describe()}; leave zero_shot alone or take another data set."
        )
    return found, asked, dropped


def _counted(dropped: Mapping[str, int]) -> str:
    """`dropped`, {why: how many}, in words."""
    return ", ".join(f"{count} {why}" for why, count in dropped.items() if count) or "there are none"


def context_frame(
    answers: Sequence[Answer], asked: Sequence[tuple[str, int]], table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase
) -> pd.DataFrame:
    """`answers_frame` of answers to `context_prompts`, with prompt (kind) and row; number is the place among them."""
    by_row = [replace(answer, number=asked[answer.number][1]) for answer in answers]
    frame = answers_frame(by_row, table, tokenizer).rename(columns={"number": "row"})
    places = [answer.number for answer in answers]
    return frame.assign(number=places, prompt=[asked[place][0] for place in places])


def all_answers(answers: pd.DataFrame, context: pd.DataFrame | None) -> pd.DataFrame:
    """Zero-shot answers and those of context_frame in one frame: number (of the row), prediction, prompt."""
    plain = answers.assign(prompt=ZERO_SHOT)
    if context is None:
        return plain
    return pd.concat([plain, context.assign(number=context["row"])], ignore_index=True)[
        ["number", "prediction", "prompt"]
    ]


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
