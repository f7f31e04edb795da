"""Prompts with and without a span of meaningless tokens, as token ids, and how their positions correspond.

Source: Shi et al. 2025, arXiv 2510.01032, section 2 (the span stands between the system text and the question).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from atlas.data.chat import ChatOption
from atlas.data.tokens import encode
from atlas.errors import AtlasError
from atlas.models.limits import EMPTY, LONG, UNKNOWN, Limits

if TYPE_CHECKING:
    from atlas.analyses.types import Ids
    from atlas.data.chat import Prompter

TEMPLATE = ChatOption("meaningless_tokens", "template", "raw")
# Common English words for `kind: random_words`; drawn with a seed, the same draw for every prompt and model.
_WORDS = (
    "apple river stone window paper garden music silver winter table bread cloud horse letter mountain bridge candle "
    "forest island kitchen ladder market needle ocean pencil quiet rabbit shadow ticket valley wagon yellow basket "
    "corner doctor engine flower guitar hammer insect jacket kettle lemon mirror number orange planet ribbon saddle "
    "tunnel violin walnut anchor button castle dragon feather glove harbor"
).split()


_LONG, _SHORT = "longer than max_tokens", "question under 2 tokens"


class SpanOptions(TypedDict):
    """The block analyses.meaningless_tokens.span."""

    kind: str
    string: str
    count: int
    separator: str
    seed: int


class PromptOptions(TypedDict):
    """Options of analyses.meaningless_tokens that the prompts depend on."""

    system: str
    template: str
    span: SpanOptions
    insertion: str
    max_tokens: int


class Report(TypedDict):
    """Prompts used and given, dropped by reason, tokens that merged with the span, and {token id: its text}."""

    prompts: int
    of: int
    dropped: dict[str, int]
    merged_tokens: int
    tokens: dict[str, str]


@dataclass(frozen=True)
class SpanPrompt:
    """One prompt in both conditions.

    `without` = prefix + merged + question + suffix, `with_span` = prefix + span + question + suffix (counts of
    tokens below). `merged` counts tokens of `without` that have no counterpart because text around the span was
    tokenised differently; it is 0 under insertion of ids.
    """

    without: tuple[int, ...]
    with_span: tuple[int, ...]
    prefix: int
    merged: int
    span: int
    question: int
    suffix: int


def build_prompts(
    prompter: Prompter, questions: Sequence[str], options: PromptOptions, limits: Limits
) -> tuple[list[SpanPrompt], Report]:
    """([SpanPrompt], report) of the `questions` under the options of analyses.meaningless_tokens.

    Prompts longer than `max_tokens`, or that the model cannot be given (`limits`), are dropped. The report counts
    prompts used and dropped by reason, the tokens that merged with the span, and gives the text of every token id that
    occurs. Raises AtlasError when none is left.
    """
    span = span_text(**options["span"])
    built = [
        span_prompt(
            prompter,
            question,
            system=options["system"],
            template=options["template"],
            span=span,
            insertion=options["insertion"],
        )
        for question in questions
    ]
    objections = [_objection(prompt, options["max_tokens"], limits) for prompt in built]
    usable = [prompt for prompt, objection in zip(built, objections, strict=True) if objection is None]
    dropped = {reason: objections.count(reason) for reason in (_LONG, LONG, UNKNOWN, _SHORT)}
    dropped |= {EMPTY: objections.count(EMPTY)} if EMPTY in objections else {}
    if not usable:
        counts = ", ".join(f"{number} {reason}" for reason, number in dropped.items() if number)
        raise AtlasError(
            f"none of {len(built)} prompts can be used ({counts or 'there are none'}); {limits.describe()}, and "
            f"analyses.meaningless_tokens.max_tokens is {options['max_tokens']}: raise it or take other prompts."
        )
    used = sorted({token for prompt in usable for token in (*prompt.without, *prompt.with_span)})
    report: Report = {
        "prompts": len(usable),
        "of": len(built),
        "dropped": dropped,
        "merged_tokens": sum(prompt.merged for prompt in usable),
        "tokens": {str(token): str(prompter.tokenizer.decode([token])) for token in used},
    }
    return usable, report


def _objection(prompt: SpanPrompt, max_tokens: int, limits: Limits) -> str | None:
    """Why a prompt cannot be used; None where it can."""
    if len(prompt.with_span) > max_tokens:
        return _LONG
    for ids in (prompt.with_span, prompt.without):
        if (objection := limits.objection(ids)) is not None:
            return objection
    return _SHORT if prompt.question < 2 else None


def span_text(kind: str, string: str, count: int, separator: str, seed: int) -> str:
    """The text of the meaningless span: `count` copies of `string`, or `count` random words, joined by `separator`."""
    words = [string] * count if kind == "repeat" else random.Random(seed).choices(_WORDS, k=count)
    return separator.join(words)


def span_prompt(
    prompter: Prompter, question: str, *, system: str, template: str, span: str, insertion: str
) -> SpanPrompt:
    """The SpanPrompt of one `question`.

    template: raw (system + question) or chat (the tokenizer's chat template, the span at the start of the user turn).
    insertion: ids (pieces are tokenised apart, nothing merges) or text (one text; aligned afterwards by the longest
    common prefix and suffix of ids). Raises AtlasError where the tokenizer has no chat template.
    """
    before, after, special = _frame(prompter, system, template)
    tokenizer = prompter.tokenizer
    if insertion == "ids":
        prefix = encode(tokenizer, before, special)
        inner = encode(tokenizer, span, False)
        asked, suffix = encode(tokenizer, question, False), encode(tokenizer, after, False)
        return SpanPrompt(
            without=(*prefix, *asked, *suffix),
            with_span=(*prefix, *inner, *asked, *suffix),
            prefix=len(prefix),
            merged=0,
            span=len(inner),
            question=len(asked),
            suffix=len(suffix),
        )
    without = encode(tokenizer, before + question + after, special)
    with_span = encode(tokenizer, before + span + question + after, special)
    return _align(without, with_span, len(encode(tokenizer, after, False)))


def _frame(prompter: Prompter, system: str, template: str) -> tuple[str, str, bool]:
    """(text before the question, text after it, whether the tokenizer's own special tokens are added)."""
    if template == "raw":
        return system, "", True
    messages = [{"role": "system", "content": system.strip()}] if system.strip() else []
    before, after = prompter.frame(messages, TEMPLATE, answered=False)
    return before, after, False  # the template writes its own beginning-of-sequence token


def _align(without: Ids, with_span: Ids, suffix: int) -> SpanPrompt:
    """Longest common prefix, then longest common suffix of what is left."""
    limit = min(len(without), len(with_span))
    prefix = next((i for i in range(limit) if without[i] != with_span[i]), limit)
    limit -= prefix
    tail = next((i for i in range(limit) if without[-1 - i] != with_span[-1 - i]), limit)
    return SpanPrompt(
        without=tuple(without),
        with_span=tuple(with_span),
        prefix=prefix,
        merged=len(without) - prefix - tail,
        span=len(with_span) - prefix - tail,
        question=max(tail - suffix, 0),
        suffix=min(tail, suffix),
    )
