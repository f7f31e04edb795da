"""Exact ranks of chosen logits among all logits of a row, counted on tiles that stay in the cache.

Rank (0 is the top): the number of other vocabulary entries with a larger logit, plus half the number of those with an
equal one, rounded up. A target is never compared with itself. The rule is the same for both signs: with the signs of
all logits changed, "larger" becomes "smaller" and ties stay ties, so with D = #larger - #smaller

    rank_direct      = ceil((V - 1 + D) / 2)
    rank_suppression = ceil((V - 1 - D) / 2)

and one count serves both signs. A head that writes nothing ties everything and ranks every target in the middle.
Logits are rounded: an entry closer to the target's logit than the rounding of a dot product may count as larger,
smaller or equal, depending on the order of summation. Where arithmetic is exact, the result is the same everywhere.
"""

from dataclasses import dataclass

import numpy as np
import torch

# Vocabulary entries per block, whose largest and smallest logit bound the k-th best logit of a row.
BLOCK = 128
# (vocabulary entries, rows) handled at once. Constants, so that no option changes the order of a summation. On the CPU
# a tile of float32 and the copy that is compared are 1 MiB: second-level cache.
CPU_TILE = (256, 512)
GPU_TILE = (8192, 4096)
_ITEMS = 1 << 16  # (row, block) items of `rank_in_blocks` handled at once
_SLACK = 1e-3  # relative room for the rounding of logits summed in another order


@dataclass(frozen=True)
class Extremes:
    """largest, smallest: (blocks, n) extreme logits of every block of the vocabulary; upper, lower: (n,) bounds that
    every logit among the k largest (smallest) of its row reaches."""

    largest: torch.Tensor
    smallest: torch.Tensor
    upper: torch.Tensor
    lower: torch.Tensor


@dataclass(frozen=True)
class Comparisons:
    """The targets of n rows: slot j holds the j-th target of each of the first len(slots[j]) rows.

    Rows are sorted by their number of targets, so that every slot covers a contiguous start of the rows and one matrix
    product serves all targets of a row. Entries are vocabulary indices, int64.
    """

    slots: tuple[torch.Tensor, ...]

    def split(self, size: int):
        """The comparisons of each run of `size` rows."""
        for start in range(0, len(self.slots[0]), size):
            parts = (slot[start : start + size] for slot in self.slots)
            yield slice(start, start + size), Comparisons(tuple(part for part in parts if len(part)))


def target_logits(rows, vocabulary, comparisons: Comparisons) -> list[torch.Tensor]:
    """The logit of every target, slot by slot. rows: (n, width); vocabulary: (V, width)."""
    return [(rows[: len(slot)] * vocabulary[slot]).sum(1) for slot in comparisons.slots]


def count(rows, vocabulary, comparisons: Comparisons, thresholds, *, k: int | None = None):
    """#larger - #smaller among the logits rows @ vocabulary.T, of every target's logit; and each row's extremes.

    rows: (n, width). vocabulary: (V, width). thresholds: the targets' logits, slot by slot.
    Returns (list of int64 tensors like `thresholds`, Extremes for the k best, or None without k).
    """
    size = _tile(rows)[1]
    differences, extremes = [[] for _ in thresholds], []
    for span, part in comparisons.split(size):
        limits = [threshold[span] for threshold in thresholds[: len(part.slots)]]
        counted, found = _count_tiles(rows[span], vocabulary, part, limits, k)
        for j, values in enumerate(counted):
            differences[j].append(values)
        extremes.append(found)
    joined = [torch.cat(values) for values in differences]
    if k is None:
        return joined, None
    fields = zip(*((e.largest, e.smallest, e.upper, e.lower) for e in extremes), strict=True)
    return joined, Extremes(*(torch.cat(field, -1) for field in fields))


def ranks(difference: torch.Tensor, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(direct, suppression) ranks, int32, from #larger - #smaller."""
    direct = torch.div(vocabulary + difference, 2, rounding_mode="floor")
    suppression = torch.div(vocabulary - difference, 2, rounding_mode="floor")
    return direct.int(), suppression.int()


def rank_in_blocks(rows, vocabulary, extremes: Extremes, where, targets, logits, signs) -> torch.Tensor:
    """Ranks of targets near the top (signs 1) or the bottom (-1) of their rows: (c,) int64, by the module's rule.

    Reads only the blocks that hold a logit as extreme as a row's least extreme candidate, once for all of its
    candidates. rows: (n, width). vocabulary: (V, width). extremes: from `count`. where, targets, logits, signs: (c,)
    row, vocabulary entry, logit and sign of each candidate.
    """
    # From here on every row comes twice, as it is and with the opposite sign; only the top matters.
    row = where + len(rows) * (signs < 0)
    rows = torch.cat([rows, -rows])
    highest = torch.cat([extremes.largest, -extremes.smallest], 1)
    least = rows.new_full((len(rows),), torch.inf).scatter_reduce_(0, row, signs * logits, "amin")
    least -= _SLACK * least.abs().nan_to_num(posinf=0)
    needed = highest >= least
    rank = torch.zeros_like(row)
    for run in _runs(needed.sum(0), _ITEMS):
        chosen = ((row >= run.start) & (row < run.stop)).nonzero()[:, 0]
        if len(chosen):
            ours = (rows[run], vocabulary, needed[:, run], least[run], row[chosen] - run.start, targets[chosen])
            rank[chosen] = _rank_run(*ours)
    return rank


def _rank_run(rows, vocabulary, needed, least, where, targets):
    """`rank_in_blocks` for few rows. needed: (blocks, n) the blocks to read; least: (n,) least logit of interest."""
    block, item_row = needed.nonzero(as_tuple=True)  # sorted by block
    tile = rows.new_empty(len(block), BLOCK)
    states = rows[item_row]
    edges = torch.searchsorted(block, torch.arange(len(needed) + 1)).tolist()
    for b in np.flatnonzero(np.diff(edges)).tolist():
        items, entries = slice(edges[b], edges[b + 1]), vocabulary[b * BLOCK : (b + 1) * BLOCK]
        if len(entries) == BLOCK:
            torch.mm(states[items], entries.T, out=tile[items])
        else:
            tile[items, : len(entries)] = states[items] @ entries.T
            tile[items, len(entries) :] = -torch.inf

    # All logits of interest, ranked within their row at once. The candidates are among them.
    near = tile >= least[item_row, None]
    at, column = map(torch.from_numpy, np.divmod(np.flatnonzero(near.numpy()), BLOCK))  # faster than torch's nonzero
    ranked = _rank_within(tile[at, column], item_row[at])
    item = torch.zeros(needed.shape, dtype=torch.long)
    item[block, item_row] = torch.arange(len(block))
    wanted = item[targets // BLOCK, where] * BLOCK + targets % BLOCK
    return ranked[torch.searchsorted(at * BLOCK + column, wanted)]


def _rank_within(values, owner):
    """(n,) rank of each value among those of the same owner, from the largest, ties by the module's rule."""
    order = torch.argsort(values, descending=True)
    order = order[torch.argsort(owner[order], stable=True)]
    owner, values = owner[order], values[order]
    first = torch.ones_like(owner, dtype=torch.bool)  # of its run of equal values
    first[1:] = (owner[1:] != owner[:-1]) | (values[1:] != values[:-1])
    start, run = first.nonzero()[:, 0], first.cumsum(0) - 1
    counts = torch.bincount(owner)
    larger = start[run] - (counts.cumsum(0) - counts)[owner]
    ranked = torch.empty_like(order)
    ranked[order] = (
        larger + torch.bincount(run)[run] // 2
    )  # the run holds the value itself: half of the rest, rounded up
    return ranked


def _runs(sizes, limit: int):
    """Slices of consecutive rows whose sizes sum to at most `limit` (one row at least)."""
    total, start = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if at > start and total + size > limit:
            yield slice(start, at)
            total, start = 0, at
        total += size
    if len(sizes):
        yield slice(start, len(sizes))


def _tile(tensor) -> tuple[int, int]:
    return CPU_TILE if tensor.device.type == "cpu" else GPU_TILE


def _count_tiles(rows, vocabulary, comparisons: Comparisons, thresholds, k):
    """`count` for a tile's worth of rows. Tiles lie (vocabulary, rows): all reductions run along the fast axis."""
    size, step, n = len(vocabulary), _tile(rows)[0], len(rows)
    columns = rows.T.contiguous()
    buffer, scratch = rows.new_empty(step * n), rows.new_empty(step * n)
    totals = [torch.zeros_like(threshold)[None] for threshold in thresholds]  # exact below 2**24 entries
    starts = range(0, size, step)
    edges, flat, order = _own_entries(comparisons.slots, starts, size, n)
    own = []  # every target's own logit as the tiles have it
    largest = rows.new_empty(0 if k is None else -(-size // BLOCK), n)
    smallest = torch.empty_like(largest)
    for i, start in enumerate(starts):
        height = min(step, size - start)
        if i == 0 or height < step:  # views are made once, for a thousand tiles
            tile, slots = buffer[: height * n].view(height, n), []
            for total, threshold in zip(totals, thresholds, strict=True):
                width = len(threshold)
                # The last slot over all rows may destroy the tile.
                whole = len(slots) == len(thresholds) - 1 and width == n
                signs = tile if whole else scratch[: height * width].view(height, width)
                slots.append((tile[:, :width], signs, threshold, total))
            ones = rows.new_ones(1, height)
        torch.mm(vocabulary[start : start + height], columns, out=tile)
        if k is not None:
            _block_extremes(tile, largest[start // BLOCK :], smallest[start // BLOCK :])
        if edges[i] < edges[i + 1]:
            own.append(tile.view(-1)[flat[edges[i] : edges[i + 1]]])
        for part, signs, threshold, total in slots:
            torch.sub(part, threshold, out=signs).sign_()
            total.addmm_(ones, signs)  # a sum down the columns
    # A target ties with itself, whatever the rounding of two orders of summation.
    counted = torch.cat(totals, 1)[0]
    counted[order] -= (torch.cat(own) - torch.cat(thresholds)[order]).sign_()
    differences = list(counted.long().split([len(threshold) for threshold in thresholds]))
    if k is None:
        return differences, None
    if len(largest) < k:  # too few blocks to bound anything: every logit qualifies
        infinite = rows.new_full((n,), torch.inf)
        return differences, Extremes(largest, smallest, -infinite, infinite)
    # k blocks whose largest logits are at least `upper` hold k logits of at least `upper`.
    return differences, Extremes(largest, smallest, _kth_largest(largest, k), -_kth_largest(-smallest, k))


def _own_entries(slots, starts, size: int, n: int):
    """Where the targets' own logits lie: (edges, flat, order), the targets being those of all slots, one after another.

    flat[edges[i]:edges[i + 1]]: places in tile i, of n columns; order: the target of each of these places.
    """
    targets = torch.cat(slots)
    column = torch.cat([torch.arange(len(slot), device=slot.device) for slot in slots])
    ordered, order = torch.sort(targets)
    edges = torch.searchsorted(ordered, torch.tensor([*starts, size], device=ordered.device)).tolist()
    return edges, (ordered % starts.step) * n + column[order], order


def _kth_largest(values, k: int):
    """(blocks, n) -> (n,). numpy's partition is twice as fast as torch's topk on the CPU."""
    if values.device.type != "cpu":
        return values.topk(k, dim=0).values[-1]
    place = len(values) - k
    return torch.from_numpy(np.partition(values.T.contiguous().numpy(), place, axis=1)[:, place].copy())


def _block_extremes(tile, largest, smallest) -> None:
    whole = len(tile) // BLOCK
    if whole:
        view = tile[: whole * BLOCK].view(whole, BLOCK, -1)
        torch.amax(view, 1, out=largest[:whole])
        torch.amin(view, 1, out=smallest[:whole])
    if len(tile) % BLOCK:
        torch.amax(tile[whole * BLOCK :], 0, out=largest[whole])
        torch.amin(tile[whole * BLOCK :], 0, out=smallest[whole])
