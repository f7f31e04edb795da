"""The table probe_auroc, from a stored probe (no model needed)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from jaxtyping import Bool


def table(
    stored: Mapping[str, np.ndarray],
    correct: Bool[np.ndarray, " samples"],
    options: Mapping[str, Any],
    keys: Mapping[str, str],
) -> pd.DataFrame:
    """The probe_auroc frame: one row per hidden-state index; without a probe one row without a layer that is chosen.

    stored: as in probe_storage; correct (S,): of its samples; options: the block analyses.saliency.probe; keys: model
    and dataset.
    """
    counts = {"correct": int(np.sum(correct)), "wrong": int(np.sum(~correct))}
    about = {**counts, **{name: options[name] for name in ("folds", "regularisation", "weights")}}
    names = ("nested_auroc", "nested_low", "nested_high")
    nested = dict(zip(names, map(float, stored["nested"]), strict=True))
    if not stored["layer"]:
        nothing = dict.fromkeys(("auroc", "auroc_low", "auroc_high"), np.nan)
        return pd.DataFrame([{**keys, "layer": 0, "chosen": False, **nothing, **nested, **about}])
    layers = np.arange(len(stored["auroc"]))
    return pd.DataFrame({**keys, "layer": layers}).assign(
        auroc=stored["auroc"],
        auroc_low=stored["low"],
        auroc_high=stored["high"],
        chosen=layers == stored["layer"],
        **nested,
        **about,
    )
