"""How the column sums of attention with and without a span are stored: names, order, and how parts are joined.

Per-prompt arrays: prompt, prefix, merged, span, question, suffix (P,) token counts as in prompts.SpanPrompt;
span_mass (P, layers, heads). Per-token arrays, all prompts one after the other: `{condition}.ids` (tokens,) and
`{condition}.{sum}` (tokens, layers, heads).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.results.shards import ragged_order

if TYPE_CHECKING:
    from jaxtyping import Int

    from atlas.analyses.types import Arrays

CONDITIONS = ("without", "with")
COUNTS = ("prefix", "merged", "span", "question", "suffix")
SUMS = {"without": ("below",), "with": ("below", "below_outside", "below_renormalised")}


def middle(arrays: Arrays, condition: str) -> Int[np.ndarray, " prompts"]:
    """Tokens between prefix and question of each prompt, shape (P,): what merged, or the span."""
    return arrays["merged"] if condition == "without" else arrays["span"]


def lengths(arrays: Arrays, condition: str) -> Int[np.ndarray, " prompts"]:
    """Tokens of each prompt in `condition`, shape (P,)."""
    return arrays["prefix"] + middle(arrays, condition) + arrays["question"] + arrays["suffix"]


def merge(parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """One dictionary of arrays from several (batches or shards), ordered by prompt number."""
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.argsort(joined["prompt"], kind="stable")
    tokens = {condition: ragged_order(lengths(joined, condition), order) for condition in CONDITIONS}
    return {key: array[tokens.get(key.split(".")[0], order)] for key, array in joined.items()}
