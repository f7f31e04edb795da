"""Exact attention in blocks of query rows: output, weighted column sums, row masses, diagonal; O(block * T) memory.

For a block of queries only the keys up to the block are read (blocked-causal), so half of the T x T work of a
masked kernel never happens and only the diagonal block needs a mask.  The softmax is exact, in fp32 as in Hugging
Face's eager code, in float64 for a float64 model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..models.memory import GPU_TILE, TILE_BYTES, gpu_room

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from .collector import Collector
    from .masks import Rows, Span, Visibility

# Scores held at once, in elements. On a CPU small enough to stay near the caches and large enough for efficient
# products; on a GPU, which wants few large products, a tile's two to four buffers take 2 GB at most.
TILE_ELEMENTS = {"cpu": 1 << 21, "cuda": GPU_TILE}
# Steps of a graph that only move numbers, between the fused kernel and the output that transformers returns.
SAME_NUMBERS = ("CloneBackward0", "ReshapeAliasBackward0", "TransposeBackward0", "ViewBackward0")


@dataclass
class AttentionInputs:
    """What one attention layer was called with.

    query (B, H, Q, D); key (B, KV, T, D); value (B, KV, T, Dv); scaling, softcap, sinks (H,) and position_bias
    (B or 1, H, Q, T) as in transformers; visible: the mask.  Query head h reads key/value head h // (H // KV).
    output (B, Q, H, Dv): the attention output before any edit, in the autograd graph if one is recorded.
    log_normaliser (B, H, Q): log of the sum over the visible keys of exp(score), where the fused kernel kept it.
    """

    query: Float[Tensor, "batch heads queries width"]
    key: Float[Tensor, "batch kv_heads keys width"]
    value: Float[Tensor, "batch kv_heads keys value_width"]
    visible: Visibility
    scaling: float
    softcap: float | None = None
    sinks: Float[Tensor, " heads"] | None = None
    position_bias: Float[Tensor, "#batch heads queries keys"] | None = None
    output: Float[Tensor, "batch queries heads value_width"] | None = None
    log_normaliser: Float[Tensor, "batch heads queries"] | None = None

    def __post_init__(self) -> None:
        self.batch, self.heads, self.q_len, self.width = self.query.shape
        self.kv_heads, self.kv_len = self.key.shape[1:3]
        self.groups = self.heads // self.kv_heads
        self.offset = self.kv_len - self.q_len
        self.dtype = torch.float64 if self.query.dtype == torch.float64 else torch.float32
        self._flat: tuple[Tensor, Tensor] | None = None

    def flat(self) -> tuple[Float[Tensor, "batch_kv keys width"], Float[Tensor, "batch_kv keys value_width"]]:
        """Key and value as (B * KV, T, width), so that a tile of batch rows or heads is one contiguous slice."""
        if self._flat is None:
            key, value = self.key.detach(), self.value.detach()
            self._flat = key.reshape(-1, *key.shape[2:]), value.reshape(-1, *value.shape[2:])
        return self._flat

    def release(self) -> None:
        """Give up what `flat` keeps."""
        self._flat = None


def vector_norms(vectors: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape"]:
    """The Euclidean norm of each vector, summed in fp32 (float64 for float64), whatever type the vectors have."""
    wide = torch.float64 if vectors.dtype == torch.float64 else torch.float32
    return torch.linalg.vector_norm(vectors.detach(), dim=-1, dtype=wide)


def kept_normaliser(
    x: AttentionInputs, out: Float[Tensor, "batch queries heads value_width"]
) -> Float[Tensor, "batch heads queries"] | None:
    """log_normaliser of AttentionInputs from PyTorch's fused CPU kernel, which keeps it for the backward pass of `out`.

    None if another kernel ran, or none in the graph; then what needs a row's softmax computes it.
    """
    if x.softcap is not None or x.sinks is not None or x.position_bias is not None:
        return None
    node = out.grad_fn
    while node is not None:
        if node.name() == "ScaledDotProductFlashAttentionForCpuBackward0":
            return getattr(node, "_saved_logsumexp").detach()  # noqa: B009 - a field that Node does not declare
        if node.name() not in SAME_NUMBERS:
            return None
        node = node.next_functions[0][0]
    return None


class Scratch:
    """Buffers that are used again for every tile: fresh pages for each would cost as much as the softmax."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """The buffer `name` in this shape; holds whatever the last use left there."""
        size = 1
        for n in shape:
            size *= n
        key = (name, dtype, device)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[key] = torch.empty(size, dtype=dtype, device=device)
        return buffer[:size].view(shape)


def tile_weights(
    x: AttentionInputs, batch: slice, kv: slice, rows: Rows, span: Span, scratch: Scratch
) -> tuple[Float[Tensor, "batch_kv group_rows keys"], Float[Tensor, "batch_kv group_rows 1"] | None]:
    """Attention weights of a tile and the mass of the learned sink.

    batch, kv: slices of batch rows and key/value heads, several batch rows only with all heads; rows: slice or index
    tensor of local queries; span: their keys.
    Returns (b * kv, G * R, last - first) in scratch memory (valid until the next call) and (b * kv, G * R, 1) or None.
    """
    first, last = span.first, span.last
    heads = slice(kv.start * x.groups, kv.stop * x.groups)
    query = x.query.detach()[batch, heads][:, :, rows]
    b, r, n_kv = query.shape[0], query.shape[2], kv.stop - kv.start
    n = b * n_kv
    start = batch.start * x.kv_heads + kv.start
    key = x.flat()[0][start : start + n, first:last]
    shape = (n, x.groups * r, last - first)
    scores = scratch.get("scores", shape, query.dtype, query.device)
    scores.baddbmm_(query.reshape(n, x.groups * r, x.width), key.transpose(1, 2), beta=0, alpha=x.scaling)
    if scores.dtype != x.dtype:
        scores = scratch.get("upcast", shape, x.dtype, query.device).copy_(scores)
    if x.softcap is not None:
        scores.div_(x.softcap).tanh_().mul_(x.softcap)
    grouped = scores.view(b, n_kv, x.groups, r, last - first)
    if x.position_bias is not None:
        bias = x.position_bias.detach().expand(x.batch, x.heads, -1, -1)[batch, heads, :, first:last][:, :, rows]
        grouped.add_(bias.unflatten(1, (n_kv, x.groups)))
    x.visible.hide(grouped, batch, heads, rows, span)
    weights = torch.softmax(scores, dim=-1, out=scratch.get("weights", shape, x.dtype, query.device))
    sink_mass = None
    if x.sinks is not None:  # one more logit in the denominator, dropped after the softmax
        total = torch.logsumexp(grouped, dim=-1, keepdim=True)
        extra = x.sinks.detach().to(total).reshape(1, x.kv_heads, x.groups, 1, 1)[:, kv]
        weights.view_as(grouped).mul_(torch.sigmoid(total - extra))
        sink_mass = torch.sigmoid(extra - total).view(n, x.groups * r, 1)
    x.visible.clear_empty(weights.view_as(grouped), batch, heads, rows)
    return weights, sink_mass


def tile_elements(device: torch.device) -> int:
    """Scores of one tile on this device: fewer than usual on a GPU where a quarter of its free memory is less."""
    usual = TILE_ELEMENTS.get(device.type, TILE_ELEMENTS["cpu"])
    if device.type != "cuda":
        return usual
    room = gpu_room(device) // (4 * TILE_BYTES)
    while usual > TILE_ELEMENTS["cpu"] and usual > room:
        usual //= 2
    return usual


def block_rows(block: int, row: int, rows: int, tile: int, device: torch.device) -> int:
    """Query rows of a block, of `rows` in all: `block` on a CPU, on a GPU as many as a tile holds of `row` scores each.

    A GPU's blocks are of equal size, so that one that is just too large does not leave a small one behind.
    """
    if device.type != "cuda" or not rows:
        return block
    most = max(block, tile // max(1, row))
    return -(-rows // -(-rows // most))


def tiles(x: AttentionInputs) -> Iterator[tuple[slice, slice, slice, Span]]:
    """(batch, kv, rows, span) slices that cover the layer, each at most a tile of scores (or one kv head)."""
    block, most = x.visible.block, x.visible.tile or tile_elements(x.query.device)
    for n, span in enumerate(x.visible.spans):
        rows = slice(n * block, min((n + 1) * block, x.q_len))
        size = x.groups * (rows.stop - rows.start) * (span.last - span.first)
        fit = max(1, most // size)
        if fit >= x.kv_heads:
            step = fit // x.kv_heads
            for b in range(0, x.batch, step):
                yield slice(b, min(b + step, x.batch)), slice(0, x.kv_heads), rows, span
        else:
            for b in range(x.batch):
                for kv in range(0, x.kv_heads, fit):
                    yield slice(b, b + 1), slice(kv, min(kv + fit, x.kv_heads)), rows, span


@torch.no_grad()
def blocked_attention(
    x: AttentionInputs, collector: Collector | None, scratch: Scratch
) -> Float[Tensor, "batch queries heads value_width"]:
    """The attention output (B, Q, H, Dv), in one pass over the query blocks that feeds the collector on the way."""
    out = x.query.new_empty(x.batch, x.q_len, x.heads, x.value.shape[-1], dtype=x.value.dtype)
    for batch, kv, rows, span in tiles(x):
        weights, sink_mass = tile_weights(x, batch, kv, rows, span, scratch)
        start = batch.start * x.kv_heads + kv.start
        value = x.flat()[1][start : start + weights.shape[0], span.first : span.last]
        part = torch.bmm(weights.to(value.dtype), value)
        b, n_kv, r = batch.stop - batch.start, kv.stop - kv.start, rows.stop - rows.start
        part = part.view(b, n_kv * x.groups, r, -1).transpose(1, 2)
        out[batch, rows, kv.start * x.groups : kv.stop * x.groups] = part
        if collector is not None:
            collector.add(weights, sink_mass, batch, kv, rows, span)
    x.release()
    return out


@torch.no_grad()
def collect(x: AttentionInputs, collector: Collector, scratch: Scratch) -> None:
    """Feed the collector in one pass over the query blocks, without an output."""
    for batch, kv, rows, span in tiles(x):
        collector.add(*tile_weights(x, batch, kv, rows, span, scratch), batch, kv, rows, span)
    x.release()
