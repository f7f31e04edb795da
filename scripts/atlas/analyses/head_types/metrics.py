"""Scores of head types with intervals over sequences (no model needed)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.head_types.scores import TYPES
from atlas.statistics.intervals import bootstrap_weights, percentile_interval

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.analyses.types import Arrays, Keys


class MetricOptions(TypedDict):
    """Options of analyses.head_types that the metrics depend on."""

    confidence: float
    bootstrap: int
    seed: int


def types_table(arrays: Arrays, keys: Keys, *, length: int, start: int, options: MetricOptions) -> pd.DataFrame:
    """The table head_types of one model (`keys`) but for what its options were: a mean and its interval for each type.

    arrays: as extract.py stores them. length: of the part that stands twice, behind `start` other tokens.
    """
    sequences, layers, heads = arrays[TYPES[0]].shape
    layer, head = np.indices((layers, heads))
    frame = pd.DataFrame({**keys, "layer": layer.ravel(), "head": head.ravel()})
    weights = bootstrap_weights(sequences, options["bootstrap"], options["seed"]) / sequences
    for kind in TYPES:
        values = arrays[kind].astype(np.float64)
        frame[kind] = values.mean(0).ravel()
        bounds = [_interval(values[:, layer], weights, options["confidence"]) for layer in range(layers)]
        frame[f"{kind}_low"], frame[f"{kind}_high"] = np.concatenate(bounds, axis=1)
    return frame.assign(uniform=uniform(length, start), sequences=sequences)


def uniform(length: int, start: int) -> float:
    """Each score of a head that looks alike at every token so far: mean of 1 / (i + 1) over the second copy."""
    return float(np.mean(1 / np.arange(start + length + 1, start + 2 * length + 1)))


def _interval(
    values: Float[np.ndarray, "sequences heads"], weights: Float[np.ndarray, "draws sequences"], confidence: float
) -> Float[np.ndarray, "2 heads"]:
    """Percentile interval of the mean of one layer's heads; a layer at a time, so that no draw of all heads is held."""
    return np.stack(percentile_interval(weights @ values, confidence))
