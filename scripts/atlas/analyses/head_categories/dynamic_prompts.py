"""Prompts in which a relation's source token stands, to see what heads write there (no model needed).

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.1; its code has the four templates of the default options.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from atlas.analyses.head_categories.completions import SPLIT, filled
from atlas.data.tokens import encode

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from atlas.models.limits import Limits

SHOWN = "its source stands in the examples"


class PromptOptions(TypedDict):
    """Of analyses.relation_dynamic: what the prompts are."""

    templates: Sequence[str]
    example: str
    shots: int
    pairs: int
    seed: int


@dataclass(frozen=True)
class Placed:
    """A prompt: ids, its tokens; place: where the source token stands among them."""

    ids: tuple[int, ...]
    place: int


def placed_prompts(
    tokenizer: PreTrainedTokenizerBase, pairs: pd.DataFrame, options: PromptOptions, limits: Limits
) -> tuple[dict[int, list[Placed]], dict[str, int]]:
    """({label of a row of `pairs`: its prompt in every template}, {why: how many pairs were dropped}) of one relation.

    pairs: rows of select_pairs of the relation. Rows are tried in an order drawn by the seed and the relation's name,
    until there are options["pairs"] of them or none is left. A pair counts only if every template takes it: its source
    must be one token that stands there once.
    """
    relation = str(pairs["relation"].iloc[0])
    examples = any("{examples}" in template for template in options["templates"])
    generator = np.random.default_rng([options["seed"], zlib.crc32(relation.encode())])
    shuffled = pairs.iloc[generator.permutation(len(pairs))]
    shown = shuffled.iloc[: options["shots"] if examples else 0]
    text = "".join(filled(options["example"], row.source, row.target) for row in shown.itertuples())
    words = {*shown["source"], *shown["target"]}
    found: dict[int, list[Placed]] = {}
    dropped: Counter[str] = Counter()
    for row in shuffled.iloc[len(shown) :].itertuples():
        if len(found) == options["pairs"]:
            break
        if row.source in words:
            dropped[SHOWN] += 1
            continue
        prompts, objection = [], None
        for template in options["templates"]:
            ids = encode(tokenizer, filled(template, row.source, examples=text), special=True)
            objection = limits.objection(ids, 0) or (None if ids.count(row.source_id) == 1 else SPLIT)
            if objection is not None:
                dropped[objection] += 1
                break
            prompts.append(Placed(tuple(ids), ids.index(row.source_id)))
        if objection is None:
            found[int(row.Index)] = prompts
    return found, dict(dropped)
