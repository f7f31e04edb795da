"""How saliency sums are stored: names, order, and how parts are joined.

number (S,) row of the samples file; logit (S,) of the probe and nll (S,) mean over the exact answer tokens, NaN where
not computed. For each loss that ran backward (`probe_logit`, `answer_nll`; probe_bce follows from probe_logit):

    {loss}.signed, {loss}.absolute (S, layers, flows, heads)    sums over token pairs of S_h and of |S_h|
    {loss}.sum_then_abs            (S, layers, flows)           sum over token pairs of |sum_h S_h|
    {loss}.pairs                   (S, flows)                   number of token pairs

NaN in layers that the loss does not depend on: those above the probe, and those without attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.results.shards import merge_samples

if TYPE_CHECKING:
    pass

FLOWS = ("question_to_answer", "question_to_all", "random_to_answer", "random_to_all")
# loss -> the one whose backward pass gives it
BACKWARD = {"probe_bce": "probe_logit", "probe_logit": "probe_logit", "answer_nll": "answer_nll"}


def backward_losses(losses: Iterable[str]) -> list[str]:
    """The losses that must run backward so that all of `losses` are known, in a fixed order."""
    wanted = {BACKWARD[loss] for loss in losses}
    return [loss for loss in ("probe_logit", "answer_nll") if loss in wanted]


def empty(losses: Iterable[str], layers: int, heads: int, flows: int) -> dict[str, np.ndarray]:
    """The arrays of no samples. losses: those that run backward; flows: how many there are."""
    shape = (0, layers, flows)
    arrays = {"number": np.zeros(0, np.int32), "logit": np.zeros(0, np.float32), "nll": np.zeros(0, np.float32)}
    for loss in losses:
        arrays[f"{loss}.signed"] = np.zeros((*shape, heads), np.float32)
        arrays[f"{loss}.absolute"] = np.zeros((*shape, heads), np.float32)
        arrays[f"{loss}.sum_then_abs"] = np.zeros(shape, np.float32)
        arrays[f"{loss}.pairs"] = np.zeros((0, flows), np.int32)
    return arrays


def merge(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One dictionary of arrays from several (batches or shards), ordered by sample."""
    return merge_samples(parts, "number")
