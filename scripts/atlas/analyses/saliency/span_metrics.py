"""Saliency of flows between marked parts by layer, from stored sums, with intervals over prompts.

Source: Wang et al. 2023, arXiv 2305.14160 (the mean over the pairs of a flow); the random control is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas.analyses.saliency.marked_prompts import SOURCES, NamedFlow
from atlas.analyses.saliency.metrics import layer_values
from atlas.statistics.intervals import mean_interval

if TYPE_CHECKING:
    from atlas.analyses.types import Arrays, Keys

LOSS = "answer_nll"


def span_table(
    arrays: Arrays,
    flows: Sequence[NamedFlow],
    keys: Keys,
    *,
    reduction: str,
    heads: str,
    confidence: float,
    dropped: int,
) -> pd.DataFrame:
    """The table span_saliency of one model and data set: mean over prompts and its Student-t interval, by layer.

    flows: in the order of the arrays. Prompts without a pair of a flow do not count in it; layers without attention
    have nulls. dropped: prompts of the data set that were left out.
    """
    values = layer_values(arrays, LOSS, np.zeros(len(arrays["number"])), reduction=reduction, heads=heads)
    rows = []
    for place, (source, flow) in enumerate(product(SOURCES, flows)):
        pairs = arrays[f"{LOSS}.pairs"][:, place]
        own = values[pairs > 0, :, place]
        mean, low, high = mean_interval(own.sum(0), (own**2).sum(0), len(own), confidence)
        about = {
            "flow": flow.name,
            "source": source,
            "from": flow.source,
            "to": flow.target,
            "prompts": len(own),
            "pairs": pairs[pairs > 0].mean() if len(own) else np.nan,
        }
        numbers = {"layer": np.arange(values.shape[1]), "saliency": mean, "low": low, "high": high}
        rows.append(pd.DataFrame({**numbers, **about}))
    common = {"nll": float(np.mean(arrays["nll"], dtype=float)), "reduction": reduction, "heads": heads}
    return pd.concat(rows, ignore_index=True).assign(**keys, **common, dropped=dropped)
