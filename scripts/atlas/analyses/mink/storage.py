"""How log-probabilities of scored tokens are stored: names, order, and how parts are joined.

For every kind of scored text: `{text}.number` (S,) row of the data set, `{text}.tokens` (S,) number of scored tokens,
and, all texts one after the other, `{text}.lp`, `{text}.mu`, `{text}.sigma` (tokens,) fp32 in nats and `{text}.rank`
(tokens,) int32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.results.shards import ragged_order

if TYPE_CHECKING:
    from atlas.analyses.types import Arrays

PER_TOKEN = {"lp": np.float32, "mu": np.float32, "sigma": np.float32, "rank": np.int32}


def empty(text: str) -> dict[str, np.ndarray]:
    """The arrays of no texts."""
    counts = {f"{text}.{name}": np.zeros(0, np.int32) for name in ("number", "tokens")}
    return {**counts, **{f"{text}.{name}": np.zeros(0, dtype) for name, dtype in PER_TOKEN.items()}}


def texts_of(arrays: Arrays) -> list[str]:
    """The kinds of scored text that the arrays hold."""
    return sorted({name.partition(".")[0] for name in arrays})


def merge(parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """One dictionary of arrays from several (batches or shards), each kind of text ordered by row number."""
    joined = {key: np.concatenate([part[key] for part in parts if key in part]) for part in parts for key in part}
    for text in texts_of(joined):
        order = np.argsort(joined[f"{text}.number"], kind="stable")
        tokens = ragged_order(joined[f"{text}.tokens"], order)
        for name in PER_TOKEN:
            joined[f"{text}.{name}"] = joined[f"{text}.{name}"][tokens]
        for name in ("number", "tokens"):
            joined[f"{text}.{name}"] = joined[f"{text}.{name}"][order]
    return joined


def split(arrays: Arrays, text: str) -> list[tuple[int, dict[str, np.ndarray]]]:
    """[(row number, {name: array of its scored tokens})] of one kind of text."""
    stops = np.cumsum(arrays[f"{text}.tokens"])
    starts = stops - arrays[f"{text}.tokens"]
    return [
        (int(number), {name: arrays[f"{text}.{name}"][start:stop] for name in PER_TOKEN})
        for number, start, stop in zip(arrays[f"{text}.number"], starts, stops, strict=True)
    ]
