"""Which sets of heads are ablated on which relation's prompts, and what was answered (the part that runs the model)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.head_categories.implementing import (
    NONE,
    OTHER,
    RANDOM,
    RELATION,
    head_sets,
    other_tasks,
    random_heads,
)
from atlas.data.tokens import texts_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from atlas.analyses.head_categories.causal import Answers, Completing
    from atlas.analyses.head_categories.completions import Completion
    from atlas.analyses.head_categories.implementing import Heads

    Progress = Callable[[Iterable], Iterable]
    Asked = Mapping[str, Sequence[Completion]]

COLUMNS = ["relation", "task", "heads_set", "selection", "draw", "heads", "source", "target", "answer", "correct",
           "logprob"]  # fmt: skip


class SetOptions(TypedDict):
    """Of analyses.relation_effect and head_categories: which heads are ablated together, on which tasks."""

    heads: Sequence[str | int]
    tau: float
    draws: int
    others: int
    minimum_accuracy: float
    seed: int


class Variant(NamedTuple):
    """Heads of `relation` (or random ones in their place) that are ablated together on the prompts of `task`."""

    relation: str
    task: str
    heads_set: str
    selection: str
    draw: int
    heads: Heads


def variants(scores: pd.DataFrame, base: Mapping[str, float], options: SetOptions) -> list[Variant]:
    """Every set of every relation of `base` ({relation: the model's accuracy}); scores: of direct_scores."""
    found: list[Variant] = []
    for relation in base:
        own = scores[scores["relation"] == relation]
        for name, heads in head_sets(own, options["heads"], options["tau"]).items():
            found.append(Variant(relation, relation, name, RELATION, 0, heads))
            for draw in range(options["draws"]):
                others = random_heads(heads, own, options["tau"], (options["seed"], relation, name, draw))
                if others is not None:  # fewer heads would lose less, and be no control
                    found.append(Variant(relation, relation, name, RANDOM, draw, others))
            least, number = options["minimum_accuracy"], options["others"]
            tasks = other_tasks(relation, heads, scores, base, tau=options["tau"], least=least, number=number)
            found += [Variant(relation, task, name, OTHER, draw, heads) for draw, task in enumerate(tasks)]
    return found


def relation_answers(
    completing: Completing,
    tokenizer: PreTrainedTokenizerBase,
    asked: Asked,
    scores: pd.DataFrame,
    options: SetOptions,
    progress: Progress = iter,
) -> pd.DataFrame:
    """One row per set of heads and prompt (COLUMNS); selection `none`: nothing is ablated.

    asked: {relation: its prompts}. The model answers all prompts as it is first: that decides which relations are the
    others' controls.
    """
    frames, base = [], {}
    for task in progress(list(asked)):
        answers = completing.answers(asked[task], [[]])
        clean = _frame([Variant(task, task, NONE, NONE, 0, [])], answers, asked[task], tokenizer)
        base[task] = float(clean["correct"].mean())
        frames.append(clean)
    every = variants(scores, base, options)
    for task in progress(list(asked)):
        own = [one for one in every if one.task == task]
        if own:
            answers = completing.answers(asked[task], [one.heads for one in own])
            frames.append(_frame(own, answers, asked[task], tokenizer))
    return pd.concat(frames, ignore_index=True)


def _frame(
    own: Sequence[Variant], answers: Answers, asked: Sequence[Completion], tokenizer: PreTrainedTokenizerBase
) -> pd.DataFrame:
    targets = np.array([one.target for one in asked])
    texts = dict.fromkeys(answers.tokens.ravel().tolist())
    texts = dict(zip(texts, texts_of(tokenizer, [[token] for token in texts]), strict=True))
    rows = [
        (*one[:5], json.dumps(one.heads), prompt.source, prompt.completed, texts[token], token == target, logprob)
        for one, tokens, logprobs in zip(own, answers.tokens.tolist(), answers.logprobs.tolist(), strict=True)
        for prompt, token, target, logprob in zip(asked, tokens, targets.tolist(), logprobs, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
