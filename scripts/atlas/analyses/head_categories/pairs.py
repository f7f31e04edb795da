"""Relation pairs as single tokens of one tokenizer, and a report of which pairs and relations are lost on the way.

The weight-based analysis of heads reads one row of the embedding for a source and one column of the unembedding for a
target, so both sides must be exactly one token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from atlas.data.tokens import encode_words
from atlas.data.trees import pairs_of_relation
from atlas.errors import AtlasError
from atlas.models.limits import UNKNOWN, Limits

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer
    from transformers import PreTrainedTokenizerBase

    Tokenizer: TypeAlias = FastTokenizer | PreTrainedTokenizerBase

LEADING_SPACE = ("auto", "always", "never")
# Frequent words, one token each in the middle of a text for any tokenizer that has seen English.
_PROBES = ("the", "and", "time", "house", "people", "world", "water", "city", "king", "music", "book", "night")
REASONS = ("unknown_token", "source_split", "target_split", "duplicate")


def needs_leading_space(tokenizer: Tokenizer, policy: str = "auto") -> bool:
    """Whether a word inside a text is written with a space before it for this tokenizer.

    "auto" tries frequent words: a byte-level tokenizer has " house" as one token (True), and so has Gemma's; one that
    adds the space itself (SentencePiece with a dummy prefix, as Llama 2) splits " house" into two (False).
    """
    if policy not in LEADING_SPACE:
        raise AtlasError(f"leading_space must be one of {', '.join(LEADING_SPACE)}, not {policy!r}.")
    if policy != "auto":
        return policy == "always"
    with_space, without = (
        sum(len(ids) == 1 for ids in encode_words(tokenizer, [space + word for word in _PROBES])) for space in (" ", "")
    )
    return with_space >= without


def single_token_pairs(
    pairs: pd.DataFrame,
    tokenizer: Tokenizer,
    limits: Limits,
    *,
    leading_space: str = "auto",
    minimum: int = 30,
    choice: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs whose two sides are one token each, of relations that keep at least `minimum`; and the report.

    pairs: relation, category, source, target (text). tokenizer: of transformers or of tokenizers. choice: `limit` or
    `sample` of the data set, which count the pairs of each relation that are left.
    Returns (pairs, report). pairs: relation, category, source, target, source_id, target_id, in the given order.
    report, one row per relation in the given order: relation, category, given, kept, then how many pairs were lost
    for each of REASONS (the first that applies: a side holds the unknown token, or one that the model does not know; a
    side is several tokens; the same two tokens occurred before in the relation), scored (pairs that are taken of those
    kept), used (bool) and dropped ("" or why the relation is not used).
    """
    if minimum < 1:
        raise AtlasError(f"The minimum number of pairs must be at least 1, not {minimum}.")
    space = " " if needs_leading_space(tokenizer, leading_space) else ""
    sources, targets = (
        encode_words(tokenizer, [space + str(text) for text in pairs[side]]) for side in ("source", "target")
    )
    unknown = _unknown_token(tokenizer)
    reasons, seen = [], set()
    for relation, source, target in zip(pairs["relation"], sources, targets, strict=True):
        reason = _reason(source, target, unknown, limits)
        if not reason and (relation, source[0], target[0]) in seen:
            reason = "duplicate"
        if not reason:
            seen.add((relation, source[0], target[0]))
        reasons.append(reason)
    table = pairs[["relation", "category", "source", "target"]].assign(reason=reasons)
    kept = table["reason"] == ""
    table["source_id"] = [ids[0] if ids else -1 for ids in sources]
    table["target_id"] = [ids[0] if ids else -1 for ids in targets]

    lines, chosen = [], np.zeros(len(table), dtype=bool)
    for relation, rows in table.groupby("relation", sort=False).indices.items():
        group, left = table.iloc[rows], np.flatnonzero(kept.iloc[rows])
        survivors = len(left)
        lost = {reason: int((group["reason"] == reason).sum()) for reason in REASONS}
        short = survivors < minimum
        why = f"{survivors} of {len(group)} pairs are single tokens, fewer than {minimum}" if short else ""
        head = {"relation": relation, "category": group["category"].iloc[0], "given": len(group), "kept": survivors}
        scored = [] if short else rows[pairs_of_relation(len(group), left, choice or {})]
        chosen[scored] = True
        lines.append({**head, **lost, "scored": len(scored), "used": not short, "dropped": why})
    names = ["relation", "category", "given", "kept", *REASONS, "scored", "used", "dropped"]
    report = pd.DataFrame(lines, columns=names)
    table = table[chosen].drop(columns="reason").reset_index(drop=True)
    return table.astype({"source_id": "int64", "target_id": "int64"}), report


def _reason(source: list[int], target: list[int], unknown: int | None, limits: Limits) -> str:
    if (unknown is not None and unknown in (*source, *target)) or limits.objection((*source, *target)) == UNKNOWN:
        return "unknown_token"
    if len(source) != 1:
        return "source_split"
    return "" if len(target) == 1 else "target_split"


def _unknown_token(tokenizer: Tokenizer) -> int | None:
    if hasattr(tokenizer, "encode_batch"):
        token = getattr(tokenizer.model, "unk_token", None)
        return None if token is None else tokenizer.token_to_id(token)
    return getattr(tokenizer, "unk_token_id", None)
