"""Prompts with marked parts as token ids, with the tokens of each part and as many random ones in its place.

Source: Wang et al. 2023, arXiv 2305.14160, whose marked parts are the label words of the demonstrations; the random
control is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from atlas.analyses.saliency.exact_tokens import inked, random_tokens, tokens_of
from atlas.analyses.saliency.prompts import place
from atlas.data.checks import ALWAYS
from atlas.errors import AtlasError
from atlas.models.limits import EMPTY, LONG, UNKNOWN, Limits
from atlas.nearest import nearest

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from atlas.analyses.types import Span

MARKED, RANDOM = SOURCES = ("marked", "random")
# {part of the prompt: positions of its tokens}
Parts: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class NamedFlow:
    """From the tokens of part `source` to those of part `target`; both empty: all pairs that no other flow has."""

    name: str
    source: str = ""
    target: str = ""

    @property
    def rest(self) -> bool:
        return not self.source


@dataclass(frozen=True)
class MarkedPrompt:
    """number: row of the data set; ids: prompt and answer up to its last token; answer: positions of its tokens; parts:
    of marked tokens and of random ones, with `text` (the prompt) and `predicting` (what predicts the answer) in each;
    first: the first position that some flow ends in, or that predicts an answer token."""

    number: int
    ids: tuple[int, ...]
    answer: tuple[int, ...]
    parts: Mapping[str, Parts]
    first: int


class Report(TypedDict):
    """Prompts that are measured and given, the ids of those dropped by reason, and marked parts that no flow reads."""

    measured: int
    given: int
    dropped: dict[str, list[str]]
    unused_spans: list[str]


def named_flows(option: Sequence[Mapping[str, str | bool]]) -> list[NamedFlow]:
    """The flows of analyses.span_saliency.flows in the order of tables and arrays: the rest stands last."""
    flows = [NamedFlow(str(one["name"]), str(one.get("from", "")), str(one.get("to", ""))) for one in option]
    return sorted(flows, key=lambda flow: flow.rest)


def marked_names(flows: Sequence[NamedFlow]) -> list[str]:
    """The marked parts that the flows read, sorted."""
    return sorted({name for flow in flows if not flow.rest for name in (flow.source, flow.target)} - {*ALWAYS})


def marked_prompts(
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    flows: Sequence[NamedFlow],
    *,
    seed: int,
    limits: Limits,
    unusable: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[MarkedPrompt], Report]:
    """([MarkedPrompt], report) of a data set of kind marked; unusable: {reason: ids} of rows that it left out itself.

    A token that overlaps a marked part by a visible character belongs to it. Random tokens are drawn among the visible
    ones of the prompt, for each part by itself, without the one that predicts the answer unless the part has it.
    Raises AtlasError where no prompt can be measured, and for a flow that no prompt has a pair of tokens for.
    """
    names = marked_names(flows)
    total = len(table) + sum(map(len, (unusable or {}).values()))
    found: list[MarkedPrompt] = []
    dropped = {reason: [*rows] for reason, rows in (unusable or {}).items()}
    known: set[str] = set()
    for number, row in enumerate(table.to_dict("records")):
        spans = spans_of(row["spans"])
        known |= spans.keys()
        asked = _asked(tokenizer, number, row, {name: spans.get(name, []) for name in names}, flows, seed, limits)
        if isinstance(asked, str):
            dropped.setdefault(asked, []).append(row["id"])
        else:
            found.append(asked)
    if not found:
        counts = ", ".join(f"{len(rows)} {reason}" for reason, rows in dropped.items())
        told = {name: nearest(name, sorted(known)).removesuffix(".") for name in names if name not in known}
        missing = "".join(f"; {name!r}: {words}" for name, words in told.items())
        raise AtlasError(
            f"analyses.span_saliency: none of {total} prompts can be measured ({counts}); {limits.describe()}"
            f"{missing}{'' if missing.endswith('?') else '.'} Correct the data set or analyses.span_saliency.flows."
        )
    for flow in flows:
        if flow.rest and not any(_rest(sample.parts[MARKED], flows) for sample in found):
            raise AtlasError(
                f"analyses.span_saliency.flows: the other flows have every pair of tokens of every prompt, so "
                f"{flow.name} has none; take it out."
            )
        if not flow.rest and not any(_pairs(sample.parts[MARKED], flow) for sample in found):
            raise AtlasError(
                f"analyses.span_saliency.flows: no token of {flow.source} stands before one of {flow.target} in any "
                f"prompt, so {flow.name} has no pair; attention looks back, so `from` is the earlier part."
            )
    unused = sorted(known - {*names})
    return found, {"measured": len(found), "given": total, "dropped": dropped, "unused_spans": unused}


def spans_of(stored: Mapping[str, Sequence[Sequence[int]] | None]) -> dict[str, list[Span]]:
    """{name: [(begin, end)]} of a row; parts that other rows have stand there with nothing."""
    return {
        name: [(int(begin), int(end)) for begin, end in spans]
        for name, spans in stored.items()
        if spans is not None and len(spans)
    }


def _asked(
    tokenizer: PreTrainedTokenizerBase,
    number: int,
    row: Mapping[str, str],
    spans: Mapping[str, Sequence[Span]],
    flows: Sequence[NamedFlow],
    seed: int,
    limits: Limits,
) -> MarkedPrompt | str:
    """The prompt of one row, or why it has none."""
    for name, own in spans.items():
        if not own:
            return f"no span named {name}"
    text, end = row["prompt"] + row["answer"], len(row["prompt"])
    asked = place(tokenizer, number, text, ("", "", True))
    visible = inked(text, asked.places)
    # A token that reaches into the answer is the answer's: the model has to predict it.
    answer = [i for i, (begin, stop) in enumerate(asked.places) if begin < stop and stop > end]
    prompt = [i for i, (begin, stop) in enumerate(asked.places) if begin < stop <= end]
    if not prompt or not {*answer} & {*visible}:
        return f"{'answer' if prompt else 'prompt'} without a token of its own"
    objection = limits.objection(asked.ids[: answer[-1] + 1])
    if objection is not None:
        named = {LONG: "longer than the context", UNKNOWN: UNKNOWN, EMPTY: EMPTY}
        return f"prompt {named[objection]}"
    always = {"text": tuple(prompt), "predicting": tuple(i - 1 for i in answer)}
    everywhere = sorted({*prompt} & {*visible})
    # What predicts the answer is nearest to the loss: of a part that stands before it, it is no like.
    before = sorted({*everywhere} - {*always["predicting"]})
    marked, drawn = dict(always), dict(always)
    for place_of, (name, own) in enumerate(spans.items()):
        each = [tokens_of(text, asked.places, span) for span in own]
        if not all(each):
            return f"a span {name} without a token"
        tokens = sorted(set().union(*each))
        if tokens[-1] >= answer[0]:
            return f"a span {name} in one token with the answer"
        marked[name] = tuple(tokens)
        alike = everywhere if {*tokens} & {*always["predicting"]} else before
        drawn[name] = tuple(random_tokens(alike, len(tokens), seed, number, place_of))
    parts = {MARKED: marked, RANDOM: drawn}
    ends = [min(own[flow.target]) for own in parts.values() for flow in flows if not flow.rest]
    starts = [prompt[0]] if any(flow.rest for flow in flows) else []
    return MarkedPrompt(number, asked.ids[: answer[-1] + 1], tuple(answer), parts, min(*ends, *starts, answer[0] - 1))


def _pairs(parts: Parts, flow: NamedFlow) -> bool:
    """Whether some token of the flow's source stands before one of its target."""
    return min(parts[flow.source]) < max(parts[flow.target])


def _rest(parts: Parts, flows: Sequence[NamedFlow]) -> bool:
    """Whether some token stands before another in a pair that no named flow has.

    Tokens that the same flows end in lack the same sources, so that no square of the prompt's tokens is held.
    """
    every = sorted({*parts["text"], *parts["predicting"]})
    named = [({*parts[flow.source]}, {*parts[flow.target]}) for flow in flows if not flow.rest]
    first_left: dict[tuple[bool, ...], int] = {}
    for token in every:
        ends = tuple(token in targets for _, targets in named)
        if ends not in first_left:
            taken = set[int]().union(*(sources for (sources, _), own in zip(named, ends, strict=True) if own))
            first_left[ends] = next((other for other in every if other not in taken), every[-1])
        if first_left[ends] < token:
            return True
    return False
