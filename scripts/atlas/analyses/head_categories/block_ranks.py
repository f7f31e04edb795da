"""Ranks of the targets near the top or the bottom of their rows: only the blocks that can matter are read. On the CPU.

The rule and the blocks are those of logit_ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.head_categories import logit_ranks, tile_passes

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

ITEMS = 1 << 16  # (row, block) items handled at once
_SLACK = 1e-3  # relative room for the rounding of logits summed in another order


def rank_in_blocks(
    rows: Float[Tensor, "rows width"],
    vocabulary: Float[Tensor, "vocabulary width"],
    extremes: logit_ranks.Extremes,
    where: Int[Tensor, " candidates"],
    targets: Int[Tensor, " candidates"],
    logits: Float[Tensor, " candidates"],
    signs: Int[Tensor, " candidates"],
) -> Int[Tensor, " candidates"]:
    """Ranks of targets near the top (signs 1) or the bottom (-1) of their rows: (c,) int64, by the rule of logit_ranks.

    Reads only the blocks that hold a logit as extreme as a row's least extreme candidate, once for all of its
    candidates. extremes: from logit_ranks.count. where, targets, logits, signs: (c,) row, vocabulary entry, logit and
    sign of each candidate.
    """
    # From here on every row comes twice, as it is and with the opposite sign; only the top matters.
    row = where + len(rows) * (signs < 0)
    rows = torch.cat([rows, -rows])
    highest = torch.cat([extremes.largest, -extremes.smallest], 1)
    least = rows.new_full((len(rows),), torch.inf).scatter_reduce_(0, row, signs * logits, "amin")
    least -= _SLACK * least.abs().nan_to_num(posinf=0)
    needed = highest >= least
    needed[targets // logit_ranks.BLOCK, row] = (
        True  # also where cancellation leaves `logits` more rounding than the slack
    )
    row, order = torch.sort(row)
    targets = targets[order]
    rank = torch.empty_like(row)
    for run in _runs(needed.sum(0), ITEMS):
        first, last = torch.searchsorted(row, torch.tensor([run.start, run.stop])).tolist()
        if first < last:
            some = slice(first, last)
            rank[order[some]] = _rank_run(rows[run], vocabulary, needed[:, run], row[some] - run.start, targets[some])
    return rank


def _rank_run(
    rows: Float[Tensor, "rows width"],
    vocabulary: Float[Tensor, "vocabulary width"],
    needed: Bool[Tensor, "blocks rows"],
    where: Int[Tensor, " candidates"],
    targets: Int[Tensor, " candidates"],
) -> Int[Tensor, " candidates"]:
    """`rank_in_blocks` for few rows. needed: (blocks, n) the blocks to read; where: sorted."""
    flat = np.flatnonzero(needed.numpy())  # faster than torch's nonzero
    block, item_row = map(torch.from_numpy, np.divmod(flat, len(rows)))  # sorted by block
    tile = rows.new_empty(len(block), logit_ranks.BLOCK)
    states = rows[item_row]
    edges = torch.searchsorted(block, torch.arange(len(needed) + 1)).tolist()
    for b in np.flatnonzero(np.diff(edges)).tolist():
        items, entries = slice(edges[b], edges[b + 1]), vocabulary[b * logit_ranks.BLOCK : (b + 1) * logit_ranks.BLOCK]
        if len(entries) == logit_ranks.BLOCK:
            torch.mm(states[items], entries.T, out=tile[items])
        else:
            tile[items, : len(entries)] = states[items] @ entries.T
            tile[items, len(entries) :] = -torch.inf

    # The candidates are in the tile, so each is compared as the tile has it.
    item = np.searchsorted(flat, (targets // logit_ranks.BLOCK * len(rows) + where).numpy())
    logits = tile.numpy()[item, (targets % logit_ranks.BLOCK).numpy()]
    starts = torch.searchsorted(where, torch.arange(len(rows) + 1)).numpy()
    return torch.from_numpy(tile_passes.rank_within(tile.numpy(), item_row.numpy(), starts, logits))


def _runs(sizes: Int[Tensor, " rows"], limit: int) -> Iterator[slice]:
    """Slices of consecutive rows whose sizes sum to at most `limit` (one row at least)."""
    total, start = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if at > start and total + size > limit:
            yield slice(start, at)
            total, start = 0, at
        total += size
    if len(sizes):
        yield slice(start, len(sizes))
