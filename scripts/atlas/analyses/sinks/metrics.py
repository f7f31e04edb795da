"""Which heads are attention sinks, and how many (no model needed).

Source: Gu et al., ICLR 2025, arXiv 2410.10781: Sink_k^eps = fraction of (layer, head) with alpha[k] > eps (strict),
here k = 0, averaged over sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from atlas.analyses.sinks.norms_table import of_quantities
from atlas.analyses.sinks.profile import Positions, chosen, sink_profile
from atlas.statistics.intervals import bootstrap_weights, percentile_interval, wilson_interval

if TYPE_CHECKING:
    from jaxtyping import Float

    from atlas.analyses.types import Arrays, Keys


class MetricOptions(TypedDict):
    """Options of analyses.sinks that the metrics depend on."""

    epsilon: float
    positions: Positions
    confidence: float
    bootstrap: int
    seed: int


def heads_table(arrays: Arrays, keys: Keys, options: MetricOptions) -> pd.DataFrame:
    """The table sinks of one model and data set (`keys`), all kinds of input under each other."""
    return _by_input(arrays, keys, options, lambda alpha: head_sinks(alpha, options["epsilon"], options["confidence"]))


def rates_table(arrays: Arrays, keys: Keys, dropped: Mapping[str, int], options: MetricOptions) -> pd.DataFrame:
    """The table sink_rates of one model and data set; `dropped`: {input: texts left out}."""

    def rates(alpha: Float[np.ndarray, "sequences layers heads length"]) -> pd.DataFrame:
        return sink_rates(
            alpha,
            options["epsilon"],
            confidence=options["confidence"],
            draws=options["bootstrap"],
            seed=options["seed"],
        )

    frame = _by_input(arrays, keys, options, rates)
    return frame.assign(sequences_dropped=frame["input"].map(dropped))


def profile_table(arrays: Arrays, keys: Keys, options: MetricOptions) -> pd.DataFrame:
    """The table sink_profile of one model and data set."""

    def profile(alpha: Float[np.ndarray, "sequences layers heads length"]) -> pd.DataFrame:
        return sink_profile(
            alpha,
            chosen(options["positions"], alpha.shape[-1]),
            options["epsilon"],
            confidence=options["confidence"],
            draws=options["bootstrap"],
            seed=options["seed"],
        )

    return _by_input(arrays, keys, options, profile)


def norms_table(arrays: Arrays, keys: Keys, options: MetricOptions) -> pd.DataFrame:
    """The table sink_norms of one model and data set."""
    frames = []
    for name, alpha in arrays.items():
        kind, _, what = name.partition(".")
        if what == "alpha":
            frame = of_quantities(
                arrays, kind, confidence=options["confidence"], draws=options["bootstrap"], seed=options["seed"]
            )
            frames.append(frame.assign(**keys, input=kind, length=alpha.shape[-1], sequences=len(alpha)))
    return pd.concat(frames, ignore_index=True)


def _by_input(
    arrays: Arrays, keys: Keys, options: MetricOptions, compute: Callable[[np.ndarray], pd.DataFrame]
) -> pd.DataFrame:
    frames = []
    for name, alpha in arrays.items():
        kind, _, what = name.partition(".")
        if what == "alpha":
            frames.append(
                compute(alpha).assign(
                    **keys, input=kind, epsilon=options["epsilon"], length=alpha.shape[-1], sequences=len(alpha)
                )
            )
    return pd.concat(frames, ignore_index=True)


def head_sinks(
    alpha: Float[np.ndarray, "sequences layers heads length"], epsilon: float, confidence: float
) -> pd.DataFrame:
    """Per (layer, head): mean alpha[0] over sequences and the share of sequences in which it exceeds epsilon.

    alpha: (sequences, layers, heads, length), NaN in layers without attention, which have nulls. Returns a frame
    with layer, head, alpha, sink_rate and its Wilson
    interval rate_low, rate_high.
    """
    first = alpha[..., 0]
    counts = (first > epsilon).sum(0)
    missing = np.where(np.isnan(first).all(0), np.nan, 0.0)  # of a layer without attention nothing is said
    low, high = (bound + missing for bound in wilson_interval(counts, len(first), confidence))
    layer, head = np.indices(counts.shape)
    return pd.DataFrame(
        {
            "layer": layer.ravel(),
            "head": head.ravel(),
            "alpha": first.astype(np.float64).mean(0).ravel(),
            "sink_rate": (counts / len(first) + missing).ravel(),
            "rate_low": low.ravel(),
            "rate_high": high.ravel(),
        }
    )


def sink_rates(
    alpha: Float[np.ndarray, "sequences layers heads length"],
    epsilon: float,
    *,
    confidence: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Sink metric by layer and over all layers (layer null), with bootstrap percentile intervals over sequences.

    alpha: (sequences, layers, heads, length), NaN in layers without attention: they have nulls, and the rate over all
    layers is that of the others. Returns a frame with layer, rate, rate_low, rate_high.
    """
    first = alpha[..., 0]
    share = np.where(np.isnan(first), np.nan, first > epsilon).mean(2)  # (sequences, layers)
    attending = ~np.isnan(share).all(0)
    share = np.concatenate([share, share[:, attending].mean(1, keepdims=True)], axis=1)
    weights = bootstrap_weights(len(share), draws, seed)
    low, high = percentile_interval(weights @ share / len(share), confidence)
    layers = pd.array([*range(share.shape[1] - 1), None], dtype="Int32")
    return pd.DataFrame({"layer": layers, "rate": share.mean(0), "rate_low": low, "rate_high": high})
