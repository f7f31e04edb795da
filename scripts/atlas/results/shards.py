"""Batches and shards whose borders depend on the data alone, so that results do not depend on how work is split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from jaxtyping import Int

Item = TypeVar("Item")


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Index lists of sequences of similar length, each of at most `budget` tokens with padding.

    `lengths`: tokens of each sequence. A sequence longer than the budget makes a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = []
    for index in order:
        # Sorted by length, so the newest member sets the padded width.
        if groups and (len(groups[-1]) + 1) * lengths[index] <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def shard_of(groups: Sequence[Item], shard: int, shards: int) -> Sequence[Item]:
    """The batches of shard number `shard` (1-based) of `shards`: every shards-th one, so lengths spread evenly."""
    return groups[shard - 1 :: shards]


def layers_of(layers: int, shard: int, shards: int) -> list[int]:
    """The consecutive layers of shard number `shard` (1-based). Raises AtlasError for more shards than layers."""
    if shards > layers:
        raise AtlasError(f"shards = {shards} is more than the model's {layers} layers; ask for at most {layers}.")
    return list(range(layers * (shard - 1) // shards, layers * shard // shards))


def merge_samples(parts: Sequence[dict[str, np.ndarray]], number: str) -> dict[str, np.ndarray]:
    """One {name: array} from several, ordered by the sample numbers in array `number`; axis 0 counts samples."""
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.argsort(joined[number], kind="stable")
    return {key: array[order] for key, array in joined.items()}


def ragged_order(counts: Int[np.ndarray, " samples"], order: Iterable[int]) -> Int[np.ndarray, " rows"]:
    """Row numbers that put samples of `counts` rows each, stored one after the other, into `order`."""
    starts = np.cumsum(counts) - counts
    return np.concatenate([np.arange(starts[i], starts[i] + counts[i]) for i in order] or [np.zeros(0, np.int64)])


def merge_rows(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One frame from those of all shards, by the row numbers in column `number`."""
    return pd.concat(frames, ignore_index=True).sort_values("number", ignore_index=True)
