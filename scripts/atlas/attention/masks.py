"""Which keys a query sees: the mask that the model built, in the form that block-wise kernels need."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..models.transfers import fetched

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
    from torch import Tensor

    # Local query positions: a slice, or an index tensor.
    Rows = slice | Int[Tensor, " rows"]


class Span(NamedTuple):
    """The keys of one query block: those outside [first, last) are hidden from all of it.

    Those inside [solid_first, solid_last) are visible to all of it, only the rest needs masking.
    """

    first: int
    solid_first: int
    solid_last: int
    last: int


class Visibility:
    """The mask of one forward, shared by all layers that get the same mask tensor.

    transformers hands a decoder layer one of: None (plain causal, or a single query that sees everything), a boolean
    mask (True = visible) or an additive mask (0 or the dtype's minimum), each (B or 1, H or 1, Q, T).
    Rows without a visible key (left padding) have zero attention, as in PyTorch's fused kernels; Hugging Face's eager
    code would give them uniform weights over padding.
    """

    def __init__(
        self,
        mask: Shaped[Tensor, "#batch #heads queries keys"] | None,
        causal: bool,
        batch: int,
        q_len: int,
        kv_len: int,
        block: int,
        device: torch.device,
        tile: int = 0,
        padded_right: bool = False,
    ) -> None:
        self.mask = mask if mask is None else mask[..., :kv_len].expand(batch, -1, -1, -1)
        self.causal, self.q_len, self.kv_len, self.block = causal, q_len, kv_len, block
        self.offset = kv_len - q_len
        self.padded_right = padded_right  # then every row sees itself at least
        self.device, self.tile = device, tile  # tile: scores that are computed at once; 0: what suits the device

    @property
    def spans(self) -> list[Span]:
        """The Span of each query block."""
        return self._scanned[0]

    @property
    def empty(self) -> Bool[Tensor, "#batch #heads queries"] | None:
        """Rows that see nothing, None if there are none."""
        return None if self.mask is None or self.padded_right else self._scanned[1]

    @cached_property
    def _scanned(self) -> tuple[list[Span], Bool[Tensor, "#batch #heads queries"] | None]:
        """Spans and empty rows; what needs neither, as a fused kernel, does not pay for reading the mask."""
        starts = range(0, self.q_len, self.block)
        if self.mask is not None:
            return self._scan(self.mask)
        if self.causal:
            ends = (min(start + self.block, self.q_len) + self.offset for start in starts)
            return [Span(0, 0, start + self.offset + 1, end) for start, end in zip(starts, ends, strict=True)], None
        return [Span(0, 0, self.kv_len, self.kv_len)] * len(starts), None

    def _scan(
        self, mask: Shaped[Tensor, "#batch #heads queries keys"]
    ) -> tuple[list[Span], Bool[Tensor, "#batch #heads queries"] | None]:
        """Spans and empty rows of a given mask, block by block; what decides is read back once."""
        some, every, empty = [], [], []
        for start in range(0, self.q_len, self.block):
            seen = self._seen(mask[:, :, start : start + self.block])
            some.append(seen.flatten(0, 2).any(0))
            every.append(seen.flatten(0, 2).all(0))
            empty.append(~seen.any(-1))
        nothing = torch.cat(empty, dim=-1)
        some_rows, all_rows, any_empty = fetched([torch.stack(some), torch.stack(every), nothing.any()])
        spans = [_span(s, e) for s, e in zip(some_rows, all_rows, strict=True)]
        return spans, nothing if bool(any_empty) else None

    def _seen(self, mask: Shaped[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min

    def rows_of(self, rows: Rows) -> Int[Tensor, " rows"]:
        """Rows (slice or index tensor) as an index tensor of local query positions."""
        if isinstance(rows, slice):
            return torch.arange(rows.start, rows.stop, device=self.device)
        return rows

    def seen(
        self, batch: slice, heads: slice, rows: Rows, first: int, last: int
    ) -> Bool[Tensor, "#batch #heads #rows keys"]:
        """Boolean visibility, broadcastable to (b, h, R, last - first)."""
        if self.mask is None:
            keys = torch.arange(first, last, device=self.device)
            if not self.causal:
                return torch.ones(1, 1, 1, last - first, dtype=torch.bool, device=self.device)
            return (keys <= (self.rows_of(rows) + self.offset)[:, None])[None, None]
        return self._seen(_part(self.mask, batch, heads, rows, first, last))

    def hide(
        self, scores: Float[Tensor, "batch kv group rows keys"], batch: slice, heads: slice, rows: Rows, span: Span
    ) -> None:
        """Mask scores (b, kv, G, R, last - first) in place, leaving what is visible to all alone."""
        first, solid_first, solid_last, last = span
        kv, groups = scores.shape[1:3]

        def spread(part: Shaped[Tensor, "#batch #heads rows keys"]) -> Shaped[Tensor, "#batch #kv #group rows keys"]:
            return part[:, :, None] if part.shape[1] == 1 else part.unflatten(1, (kv, groups))

        for low, high in ((first, min(solid_first, last)), (max(solid_last, first), last)):
            if low >= high:
                continue
            window = scores[..., low - first : high - first]
            if self.mask is not None and self.mask.dtype != torch.bool:
                window.add_(spread(_part(self.mask, batch, heads, rows, low, high)))
            hidden = ~self.seen(batch, heads, rows, low, high)
            window.masked_fill_(spread(hidden), torch.finfo(scores.dtype).min)

    def clear_empty(
        self, weights: Float[Tensor, "batch kv group rows keys"], batch: slice, heads: slice, rows: Rows
    ) -> None:
        """Zero the attention rows (b, kv, G, R, K) that see no key, in place."""
        if self.empty is None:
            return
        empty = self.empty[batch, heads if self.empty.shape[1] > 1 else slice(None)][:, :, rows]
        kv, groups = weights.shape[1:3]
        empty = empty[:, :, None] if empty.shape[1] == 1 else empty.unflatten(1, (kv, groups))
        weights.masked_fill_(empty[..., None], 0)


def _part(
    mask: Shaped[Tensor, "#batch #heads queries keys"], batch: slice, heads: slice, rows: Rows, first: int, last: int
) -> Shaped[Tensor, "#batch #heads rows keys"]:
    heads = heads if mask.shape[1] > 1 else slice(None)
    return mask[batch, heads, :, first:last][:, :, rows]


def _span(some: Bool[Tensor, " keys"], every: Bool[Tensor, " keys"]) -> Span:
    """The Span from per-key flags `visible to some row` and `visible to every row`."""
    seen = some.nonzero()
    if not len(seen):
        return Span(0, 0, 0, 1)  # nothing visible: one key is kept so that kernels need no special case
    first, last = int(seen[0]), int(seen[-1]) + 1
    full = every.nonzero()
    if not len(full):
        return Span(first, first, first, last)
    solid_first = int(full[0])
    gap = (~every[solid_first:]).nonzero()
    solid_last = solid_first + int(gap[0]) if len(gap) else len(every)
    return Span(first, solid_first, min(solid_last, last), last)


def only_chosen(
    mask: Shaped[Tensor, "#batch #heads queries keys"] | None, indices: Int[Tensor, "batch queries chosen"], keys: int
) -> Shaped[Tensor, "#batch #heads queries keys"]:
    """`mask` without the keys that an indexer of sparse attention did not choose for a query (B, Q, K).

    Families hide these themselves under the implementations that they know by name, and hand the choice to others.
    """
    batch, queries, _ = indices.shape
    chosen = torch.zeros(batch, queries, keys, dtype=torch.bool, device=indices.device)
    chosen = chosen.scatter(-1, indices.long(), True)[:, None]
    if mask is None:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=indices.device).tril(keys - queries)[None, None]
    if mask.dtype == torch.bool:
        return mask & chosen
    return mask.masked_fill(~chosen, torch.finfo(mask.dtype).min)
