"""Sink_k for every position k, by layer and over all layers (no model needed).

Source: Gu et al., ICLR 2025, arXiv 2410.10781: Sink_k^eps = fraction of (layer, head) with alpha[k] > eps (strict),
averaged over sequences. The tables of metrics.py are those of k = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from atlas.errors import AtlasError
from atlas.statistics.intervals import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

Positions = Literal["all"] | list[int]


def chosen(positions: Positions, length: int) -> list[int]:
    """The positions that the profile has, of those of a sequence. Raises AtlasError for one that is not there."""
    if positions == "all":
        return list(range(length))
    if beyond := [position for position in positions if position >= length]:
        raise AtlasError(
            f"analyses.sinks.positions: {beyond[0]} is no position of sequences of {length} tokens, which have 0 to "
            f"{length - 1}; leave it out, or lengthen `length`."
        )
    return sorted(positions)


def sink_profile(
    alpha: Float[np.ndarray, "sequences layers heads length"],
    positions: Sequence[int],
    epsilon: float,
    *,
    confidence: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """One row per position and layer (layer null: all layers): Sink_k with its bootstrap interval, and the mean alpha.

    alpha: NaN in layers without attention, which have nulls; of all layers counts the others. Intervals are
    percentiles over sequences. Returns a frame with position, layer, alpha, rate, rate_low, rate_high.
    """
    weights = bootstrap_weights(len(alpha), draws, seed) / len(alpha)
    frames = []
    for position in positions:
        here = alpha[..., position]
        # Held against epsilon as it is stored: in float64 the float32 that is nearest to 0.3 would be above it.
        by_layer = [_with_all(values) for values in (_above(here, epsilon).mean(2), here.astype(np.float64).mean(2))]
        low, high = percentile_interval(weights @ by_layer[0], confidence)
        layers = pd.array([*range(alpha.shape[1]), None], dtype="Int32")
        rate, mean = (values.mean(0) for values in by_layer)
        frames.append(
            pd.DataFrame(
                {"position": position, "layer": layers, "alpha": mean, "rate": rate, "rate_low": low, "rate_high": high}
            )
        )
    return pd.concat(frames, ignore_index=True)


def _with_all(values: Float[np.ndarray, "sequences layers"]) -> Float[np.ndarray, "sequences layers_and_all"]:
    """Behind the layers the mean of those with attention: every layer has as many heads."""
    attending = ~np.isnan(values).all(0)
    return np.concatenate([values, values[:, attending].mean(1, keepdims=True)], axis=1)


def _above(
    values: Float[np.ndarray, "sequences layers heads"], epsilon: float
) -> Float[np.ndarray, "sequences layers heads"]:
    """1 where a value exceeds epsilon, 0 where not, NaN where there is none."""
    return np.where(np.isnan(values), np.nan, values > epsilon)
