"""Token ids of texts with a mark on those that are scored; context and chat template are read but not scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from atlas.data.chat import ChatOption
from atlas.data.tokens import common_prefix, encode
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN, Limits

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from atlas.data.chat import Prompter

# (piece of text, whether it is scored)
Piece: TypeAlias = tuple[str, bool]
# (row of the data set, its text in pieces or None where it has none, whether the tokenizer's special tokens are added)
Framed: TypeAlias = "tuple[int, list[Piece] | None, bool]"

TEMPLATE = ChatOption("mink", "template", "raw", quiet=None)
TEXTS = ("answer", "question", "prediction", "question_answer")


class TextRow(TypedDict):
    """A question of a depth data set with its gold answer and, where it was asked for, the model's own."""

    number: int
    question: str
    answer: str
    prediction: str | None


class Report(TypedDict):
    """Texts scored and rows given, and those dropped by reason."""

    texts: int
    of: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class ScoredText:
    """number: row of the data set; ids: token ids with context; scored: which of them count (same length)."""

    number: int
    ids: tuple[int, ...]
    scored: tuple[bool, ...]


def text_rows(table: pd.DataFrame, answers: pd.DataFrame | None = None) -> list[TextRow]:
    """[{number, question, answer, prediction}] of a depth data set; prediction where the frame `answers` has one."""
    predictions = {} if answers is None else dict(zip(answers["number"], answers["prediction"], strict=True))
    return [
        {"number": number, "question": question, "answer": answer, "prediction": predictions.get(number)}
        for number, (question, answer) in enumerate(zip(table["question"], table["answer"], strict=True))
    ]


def scored_texts(
    prompter: Prompter,
    rows: Sequence[TextRow],
    text: str,
    *,
    template: str,
    system: str | None,
    max_tokens: int,
    limits: Limits,
) -> tuple[list[ScoredText], Report]:
    """([ScoredText], report) of one kind of text (of TEXTS) over `rows` (as from text_rows).

    Texts with more than `max_tokens` tokens (context included), texts that the model cannot be given (`limits`) and
    texts without a scored token are dropped and counted; so are rows without the text (a prediction that was not made).
    Raises AtlasError when none is left.
    """
    framed: list[Framed] = []
    for row in rows:
        content = _content(row, text)
        if content is None:
            framed.append((row["number"], None, False))
            continue
        pieces, special = frame(prompter, row["question"], content, text, template=template, system=system)
        framed.append((row["number"], pieces, special))
    return marked_texts(prompter.tokenizer, framed, text, block="mink", max_tokens=max_tokens, limits=limits)


def marked_texts(
    tokenizer: PreTrainedTokenizerBase,
    framed: Sequence[Framed],
    text: str,
    *,
    block: str,
    max_tokens: int,
    limits: Limits,
) -> tuple[list[ScoredText], Report]:
    """([ScoredText], report) of texts in pieces, dropped and counted as in `scored_texts`.

    text: what they are called; block: the analysis, whose `max_tokens` this is. Raises AtlasError when none is left.
    """
    dropped = dict.fromkeys((f"no {text}", "longer than max_tokens", LONG, UNKNOWN, "no scored token"), 0)
    found = []
    for number, pieces, special in framed:
        if pieces is None:
            dropped[f"no {text}"] += 1
            continue
        ids, scored = tokenise(tokenizer, pieces, special)
        if len(ids) > max_tokens:
            dropped["longer than max_tokens"] += 1
        elif (objection := limits.objection(ids)) is not None:
            dropped[objection] = dropped.get(objection, 0) + 1
        elif not any(scored[1:]):
            dropped["no scored token"] += 1
        else:
            found.append(ScoredText(number, tuple(ids), tuple(scored)))
    if not found:
        raise AtlasError(
            f"analyses.{block}: none of {len(framed)} texts of kind {text!r} can be scored ({_counts(dropped)}); "
            f"{limits.describe()}; raise analyses.{block}.max_tokens or take another data set."
        )
    return found, {"texts": len(found), "of": len(framed), "dropped": dropped}


def _content(row: TextRow, text: str) -> str | None:
    """What is scored of a row; question_answer is the question with it."""
    if text == "question":
        return row["question"]
    return row.get("prediction") if text == "prediction" else row["answer"]


def frame(
    prompter: Prompter, question: str, answer: str, text: str, *, template: str, system: str | None
) -> tuple[list[Piece], bool]:
    """([(piece of text, whether it is scored)], whether the tokenizer's own special tokens are added).

    raw: question, line break, answer; chat: the tokenizer's chat template, in which the template's own words are never
    scored. What comes after the last scored piece is left out, because nothing scored reads it.
    """
    asks = text in ("question", "question_answer")
    answers = text != "question"
    if template == "raw":
        start = [(f"{system}\n", False)] if system else []
        # In raw text the line break between a scored question and a scored answer is part of what is scored.
        pieces = [*start, (question, asks), *([("\n", asks), (answer, True)] if answers else [])]
        return pieces, True
    messages = [{"role": "system", "content": system}] if system else []
    before, between = prompter.frame(messages, TEMPLATE, answered=answers)
    pieces = [(before, False), (question, asks), *([(between, False), (answer, True)] if answers else [])]
    return pieces, False  # a chat template writes its own beginning-of-sequence token


def chat_prompt(prompter: Prompter, question: str, *, template: str, system: str | None) -> list[int]:
    """Token ids of the prompt that asks `question`: what stands before the answer in `frame`."""
    pieces, special = frame(prompter, question, "", "answer", template=template, system=system)
    return encode(prompter.tokenizer, "".join(piece for piece, _ in pieces), special)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece], special: bool
) -> tuple[list[int], list[bool]]:
    """(ids, scored) of the joined pieces, tokenised as one text.

    A token belongs to the first piece that it reaches into beyond what stood before: where a tokenizer merges across a
    border, the merged token counts as part of what follows.
    """
    text = ""
    borders: list[str] = []
    marks: list[bool] = []
    for piece, scored in pieces:
        borders.append(text)
        marks.append(scored)
        text += piece
    ids = encode(tokenizer, text, special)
    flags, border = [False] * len(ids), 0
    for before, scored in zip(borders, marks, strict=True):
        # What the tokenizer puts in front (a beginning-of-sequence token) is context: no piece owns it.
        border = max(border, common_prefix(ids, encode(tokenizer, before, special)))
        flags[border:] = [scored] * (len(ids) - border)
    return ids, flags


def _counts(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in dropped.items() if number) or "there are no rows"
