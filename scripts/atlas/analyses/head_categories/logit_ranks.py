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

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from atlas.analyses.head_categories import tile_passes

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

# Vocabulary entries per block, whose largest and smallest logit bound the k-th best logit of a row.
BLOCK = 128
# (vocabulary entries, rows) handled at once, entries in whole blocks. Constants, so that no option changes the order of
# a summation. On the CPU a tile of float32, its entries and 2,048 rows are about 1 MiB: second-level cache.
CPU_TILE = (256, 512)
GPU_TILE = (8192, 4096)


@dataclass(frozen=True)
class Extremes:
    """largest, smallest: (blocks, n) extreme logits of every block of the vocabulary; upper, lower: (n,) bounds that
    every logit among the k largest (smallest) of its row reaches."""

    largest: Float[Tensor, "blocks rows"]
    smallest: Float[Tensor, "blocks rows"]
    upper: Float[Tensor, " rows"]
    lower: Float[Tensor, " rows"]


@dataclass(frozen=True)
class Comparisons:
    """The targets of n rows: slot j holds the j-th target of each of the first len(slots[j]) rows.

    Rows are sorted by their number of targets, so that every slot covers a contiguous start of the rows and one matrix
    product serves all targets of a row. Entries are vocabulary indices, int64.
    """

    slots: tuple[Int[Tensor, " rows"], ...]

    def split(self, size: int) -> Iterator[tuple[slice, Comparisons]]:
        """The comparisons of each run of `size` rows."""
        for start in range(0, len(self.slots[0]), size):
            parts = (slot[start : start + size] for slot in self.slots)
            yield slice(start, start + size), Comparisons(tuple(part for part in parts if len(part)))


def target_logits(
    rows: Float[Tensor, "rows width"], vocabulary: Float[Tensor, "vocabulary width"], comparisons: Comparisons
) -> list[Float[Tensor, " rows"]]:
    """The logit of every target, slot by slot. rows: (n, width); vocabulary: (V, width)."""
    return [(rows[: len(slot)] * vocabulary[slot]).sum(1) for slot in comparisons.slots]


def count(
    rows: Float[Tensor, "rows width"],
    vocabulary: Float[Tensor, "vocabulary width"],
    comparisons: Comparisons,
    thresholds: Sequence[Float[Tensor, " rows"]],
    *,
    k: int | None = None,
) -> tuple[list[Int[Tensor, " rows"]], Extremes | None]:
    """#larger - #smaller among the logits rows @ vocabulary.T, of every target's logit; and each row's extremes.

    rows: (n, width). vocabulary: (V, width). thresholds: the targets' logits, slot by slot.
    Returns (list of int64 tensors like `thresholds`, Extremes for the k best, or None without k).
    """
    step, width = _tile(rows)
    buffer = rows.new_empty(step * min(width, len(rows)))
    strips = [
        _Strip(rows[span], part, [limits[span] for limits in thresholds[: len(part.slots)]], len(vocabulary), buffer, k)
        for span, part in comparisons.split(width)
    ]
    for start in range(0, len(vocabulary), step):  # outermost: all rows and a step's entries stay in the cache
        entries = vocabulary[start : start + step]
        for strip in strips:
            strip.read(start, entries)
    counted = [strip.differences() for strip in strips]
    differences = [torch.cat([each[j] for each in counted if j < len(each)]) for j in range(len(thresholds))]
    if k is None:
        return differences, None
    fields = zip(*(strip.extremes(k) for strip in strips), strict=True)
    return differences, Extremes(*(torch.cat(field, -1) for field in fields))


def ranks(
    difference: Int[Tensor, " targets"], vocabulary: int
) -> tuple[Int[Tensor, " targets"], Int[Tensor, " targets"]]:
    """(direct, suppression) ranks, int32, from #larger - #smaller."""
    direct = torch.div(vocabulary + difference, 2, rounding_mode="floor")
    suppression = torch.div(vocabulary - difference, 2, rounding_mode="floor")
    return direct.int(), suppression.int()


def _tile(tensor: Tensor) -> tuple[int, int]:
    return CPU_TILE if tensor.device.type == "cpu" else GPU_TILE


class _Strip:
    """`count` for the rows of a tile. Tiles lie (vocabulary entries, rows): all passes run along the fast axis."""

    def __init__(
        self,
        rows: Float[Tensor, "rows width"],
        comparisons: Comparisons,
        thresholds: Sequence[Float[Tensor, " rows"]],
        size: int,
        buffer: Float[Tensor, " items"],
        k: int | None,
    ) -> None:
        self._columns, self._buffer, self._n, self._step = rows.T.contiguous(), buffer, len(rows), _tile(rows)[0]
        # The targets of all slots, one slot after another.
        self._sizes, self._limits = [len(limits) for limits in thresholds], torch.cat(list(thresholds))
        self._totals = torch.zeros_like(self._limits, dtype=torch.int32)
        self._own = torch.empty_like(self._limits)  # every target's own logit as the tiles have it
        self._largest = rows.new_empty(-(-size // BLOCK) if k is not None else 0, self._n)
        self._smallest = torch.empty_like(self._largest)
        places = _own_entries(comparisons.slots, range(0, size, self._step), size, self._n)
        self._edges, self._places, self._order = places
        self._height = 0

    def read(self, start: int, entries: Float[Tensor, "height width"]) -> None:
        """Count among the vocabulary's entries from `start` on. entries: (height, width), one step of them."""
        if self._height != len(entries):  # views are made once, for hundreds of tiles
            self._height = len(entries)
            self._tile = self._buffer[: self._height * self._n].view(self._height, self._n)
            passes = _CompiledPasses if self._tile.device.type == "cpu" else _TorchPasses
            edges = np.cumsum([0, *self._sizes])
            fields = (self._limits, edges, self._totals, self._places, self._own, self._largest, self._smallest)
            self._passes = passes(self._tile, _Found(*fields))
        torch.mm(entries, self._columns, out=self._tile)
        step = start // self._step
        self._passes.read(start // BLOCK, slice(self._edges[step], self._edges[step + 1]))

    def differences(self) -> tuple[Int[Tensor, " rows"], ...]:
        """#larger - #smaller of each target, int64, slot by slot."""
        # A target ties with itself, whatever the rounding of two orders of summation.
        counted = self._totals.long()
        counted[self._order] -= (self._own - self._limits[self._order]).sign_().long()
        return counted.split(self._sizes)

    def extremes(
        self, k: int
    ) -> tuple[
        Float[Tensor, "blocks rows"], Float[Tensor, "blocks rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]
    ]:
        """The fields of Extremes."""
        if len(self._largest) < k:  # too few blocks to bound anything: every logit qualifies
            infinite = self._largest.new_full((self._n,), torch.inf)
            return self._largest, self._smallest, -infinite, infinite
        # k blocks whose largest logits are at least `upper` hold k logits of at least `upper`.
        upper, lower = _kth_largest(self._largest, k), -_kth_largest(-self._smallest, k)
        return self._largest, self._smallest, upper, lower


class _Found(NamedTuple):
    """What the passes over tiles read and write.

    limits and totals: (targets,), slot s being edges[s] to edges[s + 1]; #larger - #smaller is added to the totals.
    places, own: (targets,) entries of the flat tile and where they are written. largest, smallest: (blocks, n), or no
    blocks where they are not wanted.
    """

    limits: Float[Tensor, " targets"]
    edges: Int[np.ndarray, " edges"]
    totals: Int[Tensor, " targets"]
    places: Int[Tensor, " targets"]
    own: Float[Tensor, " targets"]
    largest: Float[Tensor, "blocks rows"]
    smallest: Float[Tensor, "blocks rows"]


class _CompiledPasses:
    """What is read from each filling of a tile on the CPU."""

    def __init__(self, tile: Float[Tensor, "height rows"], found: _Found) -> None:
        self._places, self._own, self._largest, self._smallest = (
            part.numpy() for part in (found.places, found.own, found.largest, found.smallest)
        )
        self._slots = tile.numpy(), found.limits.numpy(), found.edges, found.totals.numpy()

    def read(self, block: int, some: slice) -> None:
        """The tile's first block is `block` of all, and it holds `some` of the places."""
        extremes = BLOCK, self._largest[block:], self._smallest[block:]
        tile_passes.read(*self._slots, self._places[some], self._own[some], *extremes)


class _TorchPasses:
    """The same with torch's operators, for other devices."""

    def __init__(self, tile: Float[Tensor, "height rows"], found: _Found) -> None:
        self._tile, self._places, self._own = tile, found.places, found.own
        self._largest, self._smallest = found.largest, found.smallest
        sizes = np.diff(found.edges).tolist()
        self._slots = list(zip(found.limits.split(sizes), found.totals.split(sizes), strict=True))

    def read(self, block: int, some: slice) -> None:
        self._own[some] = self._tile.view(-1)[self._places[some]]
        for limits, totals in self._slots:  # exact: sums of whole numbers far below 2**24
            totals += (self._tile[:, : len(limits)] - limits).sign_().sum(0).int()
        if not len(self._largest):
            return
        whole = len(self._tile) // BLOCK
        blocks = self._tile[: whole * BLOCK].unflatten(0, (whole, BLOCK))
        for reduce, found in ((torch.amax, self._largest), (torch.amin, self._smallest)):
            if whole:
                reduce(blocks, 1, out=found[block : block + whole])
            if len(self._tile) % BLOCK:
                reduce(self._tile[whole * BLOCK :], 0, out=found[block + whole])


def _own_entries(
    slots: Sequence[Int[Tensor, " rows"]], starts: range, size: int, n: int
) -> tuple[list[int], Int[Tensor, " targets"], Int[Tensor, " targets"]]:
    """Where the targets' own logits lie: (edges, flat, order), the targets being those of all slots, one after another.

    flat[edges[i]:edges[i + 1]]: places in tile i, of n columns; order: the target of each of these places.
    """
    targets = torch.cat(list(slots))
    column = torch.cat([torch.arange(len(slot), device=slot.device) for slot in slots])
    ordered, order = torch.sort(targets)
    edges = torch.searchsorted(ordered, torch.tensor([*starts, size], device=ordered.device)).tolist()
    return edges, (ordered % starts.step) * n + column[order], order


def _kth_largest(values: Float[Tensor, "blocks rows"], k: int) -> Float[Tensor, " rows"]:
    """(blocks, n) -> (n,). numpy's partition is twice as fast as torch's topk on the CPU."""
    if values.device.type != "cpu":
        return values.topk(k, dim=0).values[-1]
    place = len(values) - k
    return torch.from_numpy(np.partition(values.T.contiguous().numpy(), place, axis=1)[:, place].copy())
