"""How shards (sequences) of the scores of head types are joined; what the arrays hold stands in extract.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atlas.results.shards import merge_samples

if TYPE_CHECKING:
    import numpy as np


def merge(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One dictionary of arrays from those of several shards, ordered by sequence."""
    return merge_samples(parts, "sequence")
