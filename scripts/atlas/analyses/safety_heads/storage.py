"""How the effects of ablating single heads are stored, and how shards (layers) are joined.

layer (l,): the layers of this file, of those with attention; depth (): layers of the model; `clean.gram` (Q, Q)
float64; per ablation `{ablation}.gram` (l, heads, Q, Q) float64 and `{ablation}.kl` (l, heads, Q) float64, for Q
queries. A Gram matrix is M M^T of the (Q, width) matrix of last-token states: its eigenvectors are M's left singular
vectors, so every rank and every bootstrap sample of the queries follows from it without the model.

Of a model in half precision also `wide.clean.gram` (Q, Q), `wide.{ablation}.gram` (l, Q, Q) and `wide.{ablation}.kl`
(l, Q): the same of one head of each layer (`head_again`) in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SHARED = ("clean.gram", "depth")  # the same in all shards
ABLATIONS = ("undifferentiated", "scaling", "mean")


def head_again(layer: int, heads: int) -> int:
    """The head of a layer that is measured in float32 too where the model runs in half precision."""
    return layer % heads


def merge(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One dictionary of arrays from those of several shards, ordered by layer; `wide.*` where every shard has them."""
    order = np.argsort(np.concatenate([part["layer"] for part in parts]), kind="stable")
    return {
        key: parts[0][key]
        if key == "depth" or key.endswith("clean.gram")
        else np.concatenate([part[key] for part in parts])[order]
        for key in parts[0]
        if all(key in part for part in parts) or not key.startswith("wide.")
    }
