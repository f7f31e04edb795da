"""How a trained probe is stored.

layer (): hidden-state index of the chosen layer, 0 where no probe could be trained; number (S,): row of the samples
file; fold (S,): the fold that scores it; logit (S,) out of fold; weight (folds, d), bias (folds,); auroc, low, high
(layers + 1,) by hidden-state index, of length 0 without a probe; nested (3,): the same three of the nested choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from atlas.analyses.saliency.probe import Probes


def arrays(numbers: Int[np.ndarray, " samples"] | Sequence[int], probes: Probes | None) -> dict[str, np.ndarray]:
    """The stored form of `probes` (truth_probe.Probes, or None) of the samples `numbers` (S,)."""
    numbers = np.asarray(numbers, np.int32)
    if probes is None:
        none = np.zeros(len(numbers))
        return {"layer": np.array(0, np.int32), "number": numbers, "fold": none.astype(np.int32),
                "logit": np.full(len(numbers), np.nan), "weight": np.zeros((0, 0)), "bias": np.zeros(0),
                **dict.fromkeys(("auroc", "low", "high"), np.zeros(0)), "nested": np.full(3, np.nan)}  # fmt: skip
    return {
        "layer": np.array(probes.chosen, np.int32),
        "number": numbers,
        "fold": probes.fold.astype(np.int32),
        "logit": probes.logit,
        "weight": probes.weight,
        "bias": probes.bias,
        "auroc": probes.auroc,
        "low": probes.low,
        "high": probes.high,
        "nested": np.array(probes.nested, np.float64),
    }


def of_samples(
    stored: Mapping[str, np.ndarray], numbers: Sequence[int]
) -> tuple[Float[np.ndarray, "samples width"], Float[np.ndarray, " samples"]]:
    """(weight (S, d), bias (S,)) fp32 of the fold that scores each of the samples `numbers`."""
    place = {number: row for row, number in enumerate(stored["number"].tolist())}
    fold = stored["fold"][[place[number] for number in numbers]]
    return stored["weight"][fold].astype(np.float32), stored["bias"][fold].astype(np.float32)
