"""How shards (layers) of head mappings are joined; what the arrays hold stands in extract.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SHARED = ("depth", "heads", "k_max")  # the same in every shard


def merge(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What one call of map_heads over all the layers of `parts` would have returned."""
    parts = sorted(parts, key=lambda part: part["layers"][:1].tolist())  # a shard of a hybrid model may have none
    return {
        name: parts[0][name] if name in _SHARED else np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
