"""Prompts that ask a model to complete a relation, built from its pairs of single tokens."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from atlas.data.tokens import encode

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from atlas.models.limits import Limits

SPLIT = "source is not one token there"


class CompletionOptions(TypedDict):
    """Of analyses.relation_effect: how a relation is asked for, and how often."""

    templates: Mapping[str, str]
    example: str
    shots: int
    prompts: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """ids: tokens of the prompt; target: the token that completes it; source, completed: the pair's words; place: where
    the source token stands last among `ids`."""

    ids: tuple[int, ...]
    target: int
    source: str
    completed: str
    place: int


def completions(
    tokenizer: PreTrainedTokenizerBase, pairs: pd.DataFrame, options: CompletionOptions, limits: Limits
) -> tuple[list[Completion], dict[str, int]]:
    """(prompts, {why: how many were dropped}) of one relation's pairs (rows of select_pairs).

    The examples and the order of the prompts depend on the seed and the relation's name. No prompt asks for a word of
    an example. There may be no prompt at all: `unasked` says why.
    """
    relation = str(pairs["relation"].iloc[0])
    template = options["templates"].get(relation, options["templates"]["default"])
    shots = options["shots"] if "{examples}" in template else 0
    generator = np.random.default_rng([options["seed"], zlib.crc32(relation.encode())])
    shuffled = pairs.iloc[generator.permutation(len(pairs))]
    shown, asked = shuffled.iloc[:shots], shuffled.iloc[shots:]
    text = "".join(filled(options["example"], row.source, row.target) for row in shown.itertuples())
    words = {*shown["source"], *shown["target"]}  # an antonym is asked for from both sides
    found: list[Completion] = []
    dropped: dict[str, int] = {}
    for row in asked[~asked["source"].isin(words)].itertuples():
        if len(found) == options["prompts"]:
            break
        ids = encode(tokenizer, filled(template, row.source, examples=text), special=True)
        objection = limits.objection(ids, 1) or (SPLIT if row.source_id not in ids else None)
        if objection is not None:
            dropped[objection] = dropped.get(objection, 0) + 1
            continue
        place = len(ids) - 1 - ids[::-1].index(row.source_id)
        found.append(Completion(tuple(ids), int(row.target_id), str(row.source), str(row.target), place))
    return found, dropped


def unasked(dropped: Mapping[str, int]) -> str:
    """Why no pair of a relation makes a prompt; dropped: {why: how many pairs}."""
    why = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "all stand in the examples"
    return f"no pair makes a prompt ({why})"


def filled(template: str, source: str, target: str = "", examples: str = "") -> str:
    """The template with its places filled; not by str.format, because templates may hold braces of their own."""
    for place, text in (("{examples}", examples), ("{target}", target), ("{source}", source)):
        template = template.replace(place, text)
    return template
