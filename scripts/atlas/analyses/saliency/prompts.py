"""Questions as prompts behind worked examples, with the place of the question's characters among the tokens.

Asking for the exact answer inside a longer one follows Orgad et al. 2025, "LLMs Know More Than They Show"
(arXiv 2410.02707).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from atlas.analyses.saliency.words import find_words, words
from atlas.data.chat import ChatOption
from atlas.data.tokens import common_prefix, encode, encode_with_offsets
from atlas.data.words import unread
from atlas.errors import AtlasError
from atlas.models.limits import EMPTY, LONG, UNKNOWN, Limits

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from atlas.analyses.saliency.samples import Judged
    from atlas.analyses.types import Span
    from atlas.data.chat import Prompter

# {question, answer, long_answer}: a worked example.
Demonstration: TypeAlias = dict[str, str]
# (text before a question, text after it, whether special tokens are added)
Frame: TypeAlias = tuple[str, str, bool]

PROMPT = ChatOption("saliency", "prompt", "few_shot")
_EXTRACT = "Give only the words of the answer that answer the question."


@dataclass(frozen=True)
class Asked:
    """number: row of the data set; ids: the prompt's tokens; places: for each the part [begin, end) of the question
    that it stands for, empty (0, 0) for tokens of the frame."""

    number: int
    ids: tuple[int, ...]
    places: tuple[Span, ...]


def read_demonstrations(path: str | Path) -> list[Demonstration]:
    """[{question, answer, long_answer}] of a JSON-lines file. Raises AtlasError naming the line."""
    rows: list[Demonstration] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            example = {key: row[key].strip() for key in ("question", "answer", "long_answer")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AtlasError(
                f"{path} line {number}: not a worked example ({error!r}); give question, answer and long_answer."
            ) from error
        if example["answer"] not in example["long_answer"]:
            raise AtlasError(f"{path} line {number}: long_answer does not hold the answer {example['answer']!r}.")
        rows.append(example)
    if not rows:
        raise AtlasError(f"{path}: it holds no worked example; give at least one.")
    return rows


def ask(
    prompter: Prompter,
    table: pd.DataFrame,
    demonstrations: Sequence[Demonstration],
    *,
    prompt: str,
    limits: Limits,
    max_new_tokens: int,
) -> tuple[list[Asked], int, dict[str, list[str]]]:
    """([Asked], prefix, dropped) for the questions of a qa data set.

    prompt: few_shot or chat. limits: what the model can be given.
    prefix: how many leading tokens all prompts share (none stands for a part of a question).
    dropped: {reason: [ids]} of the questions that are not asked.
    """
    shown = {tuple(word.text for word in words(row["question"])) for row in demonstrations}
    reasons = ("question is a worked example", "no answer holds a word", "prompt longer than the context")
    dropped: dict[str, list[str]] = {reason: [] for reason in reasons}
    named = {LONG: "prompt longer than the context", UNKNOWN: f"prompt {UNKNOWN}", EMPTY: f"prompt {EMPTY}"}
    frame = answer_frame(prompter, demonstrations, prompt)
    asked = []
    for number, (name, question, answers) in enumerate(
        zip(table["id"], table["question"], table["answers"], strict=True)
    ):
        if tuple(word.text for word in words(question)) in shown:
            dropped["question is a worked example"].append(name)
        elif all(unread(answer) for answer in answers):
            dropped["no answer holds a word"].append(name)
        else:
            found = place(prompter.tokenizer, number, question, frame)
            objection = limits.objection(found.ids, max_new_tokens)
            if objection is not None:
                dropped.setdefault(named[objection], []).append(name)
            else:
                asked.append(found)
    if not asked:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items() if names)
        raise AtlasError(f"none of {len(table)} questions can be asked ({counts}); take another data set or prompt.")
    return asked, shared_prefix(prompter.tokenizer, asked, frame), dropped


def ask_exact(
    prompter: Prompter,
    judged: Sequence[Judged],
    table: pd.DataFrame,
    demonstrations: Sequence[Demonstration],
    *,
    prompt: str,
    limits: Limits,
    max_new_tokens: int,
) -> tuple[list[Asked], int]:
    """([Asked], prefix) of the prompts that ask for the exact answer inside the answers `judged`.

    Prompts that the model cannot be given are left out.
    """
    frame = extraction_frame(prompter, demonstrations, prompt)
    found = []
    for item in judged:
        number = item.asked.number
        asked = place(prompter.tokenizer, number, extraction_text(table["question"][number], item.text), frame)
        if limits.objection(asked.ids, max_new_tokens) is None:
            found.append(asked)
    return found, shared_prefix(prompter.tokenizer, found, frame) if found else 0


def answer_frame(prompter: Prompter, demonstrations: Sequence[Demonstration], prompt: str) -> Frame:
    """(text before a question, text after it, whether special tokens are added), up to where its answer starts."""
    shown = [(row["question"], row["answer"]) for row in demonstrations]
    return _frame(prompter, prompt, shown, ("Question: ", "\nAnswer:"), "")


def extraction_frame(prompter: Prompter, demonstrations: Sequence[Demonstration], prompt: str) -> Frame:
    """The same for the text of `extraction_text`, up to where the exact answer starts."""
    shown = [(extraction_text(row["question"], row["long_answer"]), row["answer"]) for row in demonstrations]
    return _frame(prompter, prompt, shown, ("Question: ", "\nExact answer:"), f"{_EXTRACT}\n\n")


def extraction_text(question: str, answer: str) -> str:
    """A question with a long answer, as it stands in the frame of `extraction_frame`."""
    return f"{question}\nAnswer: {answer}"


def _frame(
    prompter: Prompter,
    prompt: str,
    shown: Sequence[tuple[str, str]],
    around: tuple[str, str],
    instruction: str,
) -> Frame:
    lead, tail = around
    if prompt == "few_shot":
        examples = "".join(f"{lead}{text}{tail} {reply}\n\n" for text, reply in shown)
        return f"{instruction}{examples}{lead}", tail, True
    turns = [
        {"role": role, "content": content}
        for text, reply in shown
        for role, content in (("user", instruction + text), ("assistant", reply))
    ]
    before, after = prompter.frame(turns, PROMPT, lead=instruction)
    return before, after, False


def place(tokenizer: PreTrainedTokenizerBase, number: int, text: str, frame: Frame) -> Asked:
    """Asked of one `text` in its frame, tokenised as one text."""
    before, after, special = frame
    ids, offsets = encode_with_offsets(tokenizer, before + text + after, special)
    start, end = len(before), len(before) + len(text)
    places = [(max(first, start) - start, min(last, end) - start) for first, last in offsets]
    return Asked(number, tuple(ids), tuple(pair if pair[0] < pair[1] else (0, 0) for pair in places))


def shared_prefix(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Asked], frame: Frame) -> int:
    """Number of leading tokens of the frame that all prompts share and that merged with no question."""
    before, _, special = frame
    alone = encode(tokenizer, before, special)
    clean = [next((i for i, (a, b) in enumerate(prompt.places) if a < b), len(prompt.ids)) for prompt in asked]
    shared = [common_prefix(prompt.ids, alone) for prompt in asked]
    return min(*clean, *shared, *(len(prompt.ids) - 1 for prompt in asked))


def exact_in(answer: str, reply: str) -> Span | None:
    """[begin, end) of a model's `reply` to the question for the exact answer, if its first line stands in `answer`."""
    lines = reply.strip().splitlines()
    return find_words(answer, lines[0]) if lines else None
