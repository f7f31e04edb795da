"""Whether a target is among the k largest, or the k smallest, logits of what a head writes, mostly without all logits.

Most targets are far from the top. Where k logits of a few entries of the vocabulary are larger than the target's, it is
no hit whatever the others are, so every entry is read only for what is left. The rule of ties is that of logit_ranks,
and so is the count of what is left: the result is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from atlas.analyses.head_categories import tile_passes
from atlas.analyses.head_categories.logit_ranks import Comparisons, count, ranks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

_FIRST, _SECOND = 32, 4  # every so many entries of the vocabulary are tried; whoever is left is ranked among all
# Room for the rounding of logits summed in another order, relative to the largest that there could be.
_SLACK = 1e-5
# (rows, entries) of one product: on the CPU they stay in the second-level cache.
_TILE = {"cpu": (1024, 256), "cuda": (8192, 8192)}


def top_hits(
    states: Float[Tensor, "rows heads value_width"],
    output: Float[Tensor, "heads value_width width"],
    unembedding: Float[Tensor, "vocabulary width"],
    largest: float,
    targets: Int[Tensor, " rows"],
    k: Int[Tensor, " rows"],
) -> Bool[Tensor, "2 heads rows"]:
    """Whether each row's target is among the k largest (first), and the k smallest (second), logits of each head.

    The logits of a head are states[:, head] @ output[head] @ unembedding.T: by its W_O and the raw unembedding.
    largest: norm of the longest row of the unembedding. k >= 1 of each row. All on one device and of one dtype.
    """
    heads, narrow, wide = output.shape
    written = torch.einsum("nhv,hvd->hnd", states, output)
    own = (written * unembedding[targets]).sum(-1)
    slack = _SLACK * largest * written.norm(dim=-1)
    upper, lower = own + slack, own - slack
    few = unembedding[::_FIRST]
    short = len(states) * (wide - narrow) > wide * narrow  # fewer products from that side
    maps = (few @ output.reshape(heads * narrow, wide).T).view(len(few), heads, narrow) if short else None
    open_ = torch.stack([
        _open(written[head], few, upper[head], lower[head], k)
        if maps is None
        else _open(states[:, head], maps[:, head], upper[head], lower[head], k)
        for head in range(heads)
    ])  # (heads, 2, rows)  # fmt: skip
    head, row = open_.any(1).nonzero(as_tuple=True)
    left = written[head, row]  # of all heads together: what they are held against is the same from here on
    still = _open(left, unembedding[::_SECOND], upper[head, row], lower[head, row], k[row]).any(0)
    head, row, left = head[still], row[still], left[still]
    found = torch.zeros(2, heads, len(states), dtype=torch.bool, device=states.device)
    if len(left):
        (difference,), _ = count(left, unembedding, Comparisons((targets[row],)), [own[head, row]])
        for sign, rank in enumerate(ranks(difference, len(unembedding))):
            found[sign, head, row] = rank < k[row]
    return found


def _open(
    states: Float[Tensor, "rows width"],
    entries: Float[Tensor, "entries width"],
    upper: Float[Tensor, " rows"],
    lower: Float[Tensor, " rows"],
    k: Int[Tensor, " rows"],
) -> Bool[Tensor, "2 rows"]:
    """Whether fewer than k logits, states @ entries.T, of a row exceed `upper`, and fewer than k lie below `lower`."""
    larger, smaller = (torch.zeros(len(states), dtype=torch.int32, device=states.device) for _ in range(2))
    cpu = states.device.type == "cpu"
    rows, height = _TILE["cpu" if cpu else "cuda"]
    for start in range(0, len(entries), height):
        some = entries[start : start + height].T
        for first in range(0, len(states), rows):
            part = slice(first, first + rows)
            logits = states[part] @ some
            if cpu:
                found = (logits, upper[part], lower[part], larger[part], smaller[part])
                tile_passes.beyond(*(x.numpy() for x in found))
            else:
                larger[part] += (logits > upper[part, None]).sum(1, dtype=torch.int32)
                smaller[part] += (logits < lower[part, None]).sum(1, dtype=torch.int32)
    return torch.stack([larger < k, smaller < k])
