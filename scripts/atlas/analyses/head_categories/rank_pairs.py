"""Ranks of a task's pairs under one head, and which other targets of their relations are hits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.head_categories.block_ranks import rank_in_blocks
from atlas.analyses.head_categories.logit_ranks import Comparisons, Extremes, count, ranks, target_logits

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from atlas.analyses.head_categories.plan import Task

_BLOCKWISE = ("cpu",)  # devices on which many small products beat whole rows


def rank_pairs(
    rows: Float[Tensor, "sources value_width"],
    vocabulary: Float[Tensor, "vocabulary value_width"],
    task: Task,
    k_max: int,
) -> tuple[Int[np.ndarray, " comparisons"], Int[np.ndarray, " comparisons"], Int[np.ndarray, "hits 4"]]:
    """Ranks of a task's pairs and its hits under one head.

    rows: (n, value_width) E' W_V of the distinct sources. vocabulary: (V, value_width) the head's W_O U, transposed.
    Returns rank_direct and rank_suppression in the order of task.pairs, and hits (hits, 4): sign, pair, target, rank.
    """
    thresholds = target_logits(rows, vocabulary, task.comparisons)
    differences, extremes = count(rows, vocabulary, task.comparisons, thresholds, k=k_max)
    direct, suppression = (rank.cpu().numpy() for rank in ranks(torch.cat(differences), len(vocabulary)))
    found = []
    own_targets = torch.cat(task.comparisons.slots).cpu().numpy()
    for sign, rank in ((1, direct), (-1, suppression)):
        keep = rank < k_max
        found.append(np.column_stack([np.full(keep.sum(), sign), task.pairs[keep], own_targets[keep], rank[keep]]))
    assert extremes is not None  # k was given
    found.append(_other_hits(rows, vocabulary, task, extremes, k_max))
    return direct, suppression, np.concatenate(found)


def _other_hits(
    rows: Float[Tensor, "sources value_width"],
    vocabulary: Float[Tensor, "vocabulary value_width"],
    task: Task,
    extremes: Extremes,
    k_max: int,
) -> Int[np.ndarray, "hits 4"]:
    """Hits of a pair's source with the other targets of its relation: sign, pair, target, rank."""
    # Other targets of the relation: few reach the row's bound, and only those are ranked.
    # The bounds stem from another order of summation than `values`: leave room for its rounding.
    upper = extremes.upper - 1e-3 * extremes.upper.abs()
    lower = extremes.lower + 1e-3 * extremes.lower.abs()
    silent = ~rows.any(1)  # a head that writes nothing ties all logits: every target would reach the bound
    upper[silent], lower[silent] = torch.inf, -torch.inf
    pairs: list[np.ndarray] = []
    where: list[Tensor] = []
    targets: list[Tensor] = []
    logits: list[Tensor] = []
    signs: list[Tensor] = []
    for group in task.groups:
        values = rows[group.rows] @ vocabulary[group.targets].T
        for side, near in ((1, values >= upper[group.rows, None]), (-1, values <= lower[group.rows, None])):
            near.scatter_(1, group.own[:, None], False)
            row, column = near.nonzero(as_tuple=True)
            pairs.append(group.pairs[row.cpu().numpy()])
            where.append(group.rows[row])
            targets.append(group.targets[column])
            logits.append(values[row, column])
            signs.append(torch.full_like(row, side))
    sign, target = torch.cat(signs), torch.cat(targets)
    rank = _rank_candidates(rows, vocabulary, extremes, torch.cat(where), target, torch.cat(logits), sign)
    columns = torch.stack([sign, target, rank], 1).cpu().numpy()
    keep = columns[:, 2] < k_max
    return np.column_stack([columns[keep, 0], np.concatenate(pairs)[keep], columns[keep, 1:]])


def _rank_candidates(
    rows: Float[Tensor, "sources value_width"],
    vocabulary: Float[Tensor, "vocabulary value_width"],
    extremes: Extremes,
    where: Int[Tensor, " candidates"],
    targets: Int[Tensor, " candidates"],
    logits: Float[Tensor, " candidates"],
    signs: Int[Tensor, " candidates"],
) -> Int[Tensor, " candidates"]:
    """(c,) rank of each candidate under its sign."""
    if rows.device.type in _BLOCKWISE:
        return rank_in_blocks(rows, vocabulary, extremes, where, targets, logits, signs)
    if not len(where):
        return where
    (difference,), _ = count(rows[where], vocabulary, Comparisons((targets,)), [logits])
    direct, suppression = ranks(difference, len(vocabulary))
    return torch.where(signs > 0, direct, suppression).long()
