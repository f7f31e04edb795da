"""Norms at the first position against those at all others, by layer (no model needed).

Sources: Gu et al., ICLR 2025, arXiv 2410.10781; Sun et al., COLM 2024, arXiv 2402.17762.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.statistics.intervals import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.analyses.types import Arrays

# What the table has rows of, under the names of the stored arrays.
QUANTITIES = ("state", "entry", "key", "value")


def sink_norms(
    norms: Float[np.ndarray, "sequences layers length"], *, confidence: float, draws: int, seed: int
) -> pd.DataFrame:
    """One row per layer: the mean at position 0 over sequences, that over all other positions, and their ratio.

    norms: (sequences, layers, length), NaN where a layer has none, which gets nulls. Returns a frame with layer, first,
    others, ratio (of the two means) and its bootstrap percentile interval over sequences, ratio_low, ratio_high.
    """
    norms = norms.astype(np.float64)
    first, others = norms[..., 0], norms[..., 1:].mean(-1)  # (sequences, layers)
    weights = bootstrap_weights(len(norms), draws, seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # norms that are all zero have no ratio
        ratio = first.mean(0) / others.mean(0)
        low, high = percentile_interval((weights @ first) / (weights @ others), confidence)
    there = np.isfinite(ratio)
    frame = {"first": first.mean(0), "others": others.mean(0)}
    ratios = {"ratio": ratio, "ratio_low": low, "ratio_high": high}
    return pd.DataFrame(
        {"layer": np.arange(norms.shape[1]), **frame}
        | {name: np.where(there, values, np.nan) for name, values in ratios.items()}
    )


def of_quantities(arrays: Arrays, kind: str, *, confidence: float, draws: int, seed: int) -> pd.DataFrame:
    """The rows of one kind of input: those of `sink_norms` for each quantity, which the column `of` names."""
    frames = [
        sink_norms(arrays[f"{kind}.{name}"], confidence=confidence, draws=draws, seed=seed).assign(of=name)
        for name in QUANTITIES
    ]
    return pd.concat(frames, ignore_index=True)
