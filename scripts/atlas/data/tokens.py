"""Text to token ids, the same way in every analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    """Token ids of `text`, with what the tokenizer puts in front of it where `special`, never with an end token."""
    if not special:
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    ids = list(tokenizer(text).input_ids)
    plain = len(tokenizer(text, add_special_tokens=False).input_ids)
    while len(ids) > plain and ids[-1] in tokenizer.all_special_ids and ids[-1] != tokenizer.bos_token_id:
        ids.pop()
    return ids


def encode_with_offsets(
    tokenizer: PreTrainedTokenizerBase, text: str, special: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """(ids as from `encode`, [(begin, end)]): the characters of `text` that each token stands for.

    Raises AtlasError for a tokenizer that cannot tell.
    """
    if not tokenizer.is_fast:
        raise AtlasError(
            f"the model's tokenizer ({type(tokenizer).__name__}) gives no character offsets, so exact tokens cannot be "
            "found; put a tokenizer.json beside the weights."
        )
    ids = encode(tokenizer, text, special)
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    return ids, [tuple(pair) for pair in found["offset_mapping"][: len(ids)]]


def common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """Length of the longest common prefix of two sequences."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
