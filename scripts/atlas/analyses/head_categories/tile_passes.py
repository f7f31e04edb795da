"""What is read from a tile of logits, each in one pass over it, compiled for the processor at first use (numba).

With torch's operators the same takes several passes, each of which writes a tile of its own, and as much time as the
matrix products that make the tiles. Counts are whole numbers: no order of summation changes them.
Tiles lie (vocabulary entries, rows of states) and hold no NaN; all loops run along the fast axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_compiled = numba.njit(nogil=True, error_model="numpy")


@_compiled
def compare(
    tile: Float[np.ndarray, "height rows"], limits: Float[np.ndarray, " targets"], totals: Int[np.ndarray, " targets"]
) -> None:
    """Add #larger - #smaller than limits[j] in column j to totals[j].

    tile: (height, n) float. limits: (m,) float and totals: (m,) int32, of its first m columns.
    """
    height = len(tile)
    fours = height - height % 4  # limits and totals are read once for four logits
    for i in range(0, fours, 4):
        a, b, c, d = tile[i], tile[i + 1], tile[i + 2], tile[i + 3]
        for j in range(len(limits)):
            limit, total = limits[j], totals[j]
            total += np.int32(a[j] > limit) - np.int32(a[j] < limit)
            total += np.int32(b[j] > limit) - np.int32(b[j] < limit)
            total += np.int32(c[j] > limit) - np.int32(c[j] < limit)
            total += np.int32(d[j] > limit) - np.int32(d[j] < limit)
            totals[j] = total
    for i in range(fours, height):
        row = tile[i]
        for j in range(len(limits)):
            totals[j] += np.int32(row[j] > limits[j]) - np.int32(row[j] < limits[j])


@_compiled
def extremes(
    tile: Float[np.ndarray, "height rows"],
    block: int,
    largest: Float[np.ndarray, "blocks rows"],
    smallest: Float[np.ndarray, "blocks rows"],
) -> None:
    """Write the largest and the smallest logit of each column within each run of `block` entries.

    tile: (height, n) float. largest, smallest: (blocks, n), at least as many blocks as the tile has; the last may be
    shorter.
    """
    height, n = tile.shape
    for start in range(0, height, block):
        stop = min(start + block, height)
        high, low, row = largest[start // block], smallest[start // block], tile[start]
        for j in range(n):
            high[j] = low[j] = row[j]
        pairs = stop - (stop - start) % 2
        for i in range(start, pairs, 2):
            a, b = tile[i], tile[i + 1]
            for j in range(n):
                more = a[j] if a[j] > b[j] else b[j]
                less = a[j] if a[j] < b[j] else b[j]
                high[j] = more if more > high[j] else high[j]
                low[j] = less if less < low[j] else low[j]
        for i in range(pairs, stop):
            row = tile[i]
            for j in range(n):
                high[j] = row[j] if row[j] > high[j] else high[j]
                low[j] = row[j] if row[j] < low[j] else low[j]


@_compiled
def read(
    tile: Float[np.ndarray, "height rows"],
    limits: Float[np.ndarray, " targets"],
    edges: Int[np.ndarray, " edges"],
    totals: Int[np.ndarray, " targets"],
    places: Int[np.ndarray, " some"],
    own: Float[np.ndarray, " some"],
    block: int,
    largest: Float[np.ndarray, "blocks rows"],
    smallest: Float[np.ndarray, "blocks rows"],
) -> None:
    """All that is wanted of a tile: the slots' comparisons, the logits at `places`, and extremes unless there are no
    blocks to write them to.

    limits, totals: (targets,); slot s is edges[s] to edges[s + 1]. places, own: (some,) entries of the flat tile and
    where they go.
    """
    flat = tile.reshape(tile.size)
    for i in range(len(places)):
        own[i] = flat[places[i]]
    if len(largest):
        extremes(tile, block, largest, smallest)
    for s in range(len(edges) - 1):
        compare(tile, limits[edges[s] : edges[s + 1]], totals[edges[s] : edges[s + 1]])


@_compiled
def rank_within(
    tile: Float[np.ndarray, "items entries"],
    owner: Int[np.ndarray, " items"],
    starts: Int[np.ndarray, " edges"],
    logits: Float[np.ndarray, " candidates"],
) -> Int[np.ndarray, " candidates"]:
    """(c,) int64: the rank of each candidate among all logits of its row, those larger and half of those equal to it,
    rounded up.

    tile: (items, entries), item i holding logits of row owner[i]. Row r has the candidates starts[r] to starts[r + 1],
    with `logits`, each of which is in the tile.
    """
    larger, equal = np.zeros(len(logits), np.int64), np.zeros(len(logits), np.int64)
    for i in range(len(tile)):
        row = tile[i]
        for c in range(starts[owner[i]], starts[owner[i] + 1]):
            limit, more, same = logits[c], np.int32(0), np.int32(0)
            for j in range(len(row)):
                more += np.int32(row[j] > limit)
                same += np.int32(row[j] == limit)
            larger[c] += more
            equal[c] += same
    return larger + equal // 2  # `equal` counts the candidate itself


@_compiled
def beyond(
    tile: Float[np.ndarray, "rows entries"],
    upper: Float[np.ndarray, " rows"],
    lower: Float[np.ndarray, " rows"],
    larger: Int[np.ndarray, " rows"],
    smaller: Int[np.ndarray, " rows"],
) -> None:
    """Add to larger[i] how many logits of row i exceed upper[i], and to smaller[i] how many lie below lower[i].

    tile: (n, entries) float, a row of states each, unlike those above. larger, smaller: (n,) int32.
    """
    for i in range(len(tile)):
        row, high, low = tile[i], upper[i], lower[i]
        more, less = np.int32(0), np.int32(0)
        for j in range(len(row)):
            more += np.int32(row[j] > high)
            less += np.int32(row[j] < low)
        larger[i] += more
        smaller[i] += less
