"""How shards (sequences) of attention per position are joined; what the arrays hold stands in extract.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atlas.results.shards import merge_samples

if TYPE_CHECKING:
    import numpy as np


def merge(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One dictionary of arrays from those of several shards, each kind of input ordered by sequence."""
    joined: dict[str, np.ndarray] = {}
    for kind in sorted({name.split(".")[0] for name in parts[0]}):
        named = [{name: part[name] for name in part if name.startswith(f"{kind}.")} for part in parts]
        joined.update(merge_samples(named, f"{kind}.sequence"))
    return joined
