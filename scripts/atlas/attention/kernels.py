"""Exact attention in blocks of query rows: output, weighted column sums, row masses, diagonal; O(block * T) memory.

For a block of queries only the keys up to the block are read (blocked-causal), so half of the T x T work of a
masked kernel never happens and only the diagonal block needs a mask.  The softmax is exact, in fp32 as in Hugging
Face's eager code, in float64 for a float64 model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import AtlasError
from .masks import Visibility
from .plan import Plan, over_batch

# Scores held at once, in elements: small enough to stay near the caches, large enough for efficient products.
TILE_ELEMENTS = 1 << 21
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

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    visible: Visibility
    scaling: float
    softcap: float | None = None
    sinks: torch.Tensor | None = None
    position_bias: torch.Tensor | None = None
    output: torch.Tensor | None = None
    log_normaliser: torch.Tensor | None = None

    def __post_init__(self):
        self.batch, self.heads, self.q_len, self.width = self.query.shape
        self.kv_heads, self.kv_len = self.key.shape[1:3]
        self.groups = self.heads // self.kv_heads
        self.offset = self.kv_len - self.q_len
        self.dtype = torch.float64 if self.query.dtype == torch.float64 else torch.float32
        self._flat = None

    def flat(self):
        """Key and value as (B * KV, T, width), so that a tile of batch rows or heads is one contiguous slice."""
        if self._flat is None:
            key, value = self.key.detach(), self.value.detach()
            self._flat = key.reshape(-1, *key.shape[2:]), value.reshape(-1, *value.shape[2:])
        return self._flat

    def release(self):
        self._flat = None


def kept_normaliser(x: AttentionInputs, out: torch.Tensor) -> torch.Tensor | None:
    """log_normaliser of AttentionInputs from PyTorch's fused CPU kernel, which keeps it for the backward pass of `out`.

    None if another kernel ran, or none in the graph; then what needs a row's softmax computes it.
    """
    if x.softcap is not None or x.sinks is not None or x.position_bias is not None:
        return None
    node = out.grad_fn
    while node is not None:
        if node.name() == "ScaledDotProductFlashAttentionForCpuBackward0":
            return node._saved_logsumexp.detach()
        if node.name() not in SAME_NUMBERS:
            return None
        node = node.next_functions[0][0]
    return None


class Scratch:
    """Buffers that are used again for every tile: fresh pages for each would cost as much as the softmax."""

    def __init__(self):
        self._buffers = {}

    def get(self, name, shape, dtype, device):
        size = 1
        for n in shape:
            size *= n
        key = (name, dtype, device)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[key] = torch.empty(size, dtype=dtype, device=device)
        return buffer[:size].view(shape)


def tile_weights(x: AttentionInputs, batch: slice, kv: slice, rows, span, scratch: Scratch):
    """Attention weights of a tile and the mass of the learned sink.

    batch, kv: slices of batch rows and key/value heads, several batch rows only with all heads; rows: slice or index
    tensor of local queries; span: (first, solid_first, solid_last, last) as in Visibility.
    Returns (b * kv, G * R, last - first) in scratch memory (valid until the next call) and (b * kv, G * R, 1) or None.
    """
    first, solid_first, solid_last, last = span
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
    x.visible.hide(grouped, batch, heads, rows, first, (solid_first, solid_last), last)
    weights = torch.softmax(scores, dim=-1, out=scratch.get("weights", shape, x.dtype, query.device))
    sink_mass = None
    if x.sinks is not None:  # one more logit in the denominator, dropped after the softmax
        total = torch.logsumexp(grouped, dim=-1, keepdim=True)
        extra = x.sinks.detach().to(total).reshape(1, x.kv_heads, x.groups, 1, 1)[:, kv]
        weights.view_as(grouped).mul_(torch.sigmoid(total - extra))
        sink_mass = torch.sigmoid(extra - total).view(n, x.groups * r, 1)
    x.visible.clear_empty(weights.view_as(grouped), batch, heads, rows)
    return weights, sink_mass


class Collector:
    """Accumulates a plan's statistics of one layer, tile by tile."""

    def __init__(self, x: AttentionInputs, plan: Plan):
        self.x = x
        device, shape = x.query.device, (x.batch, x.heads)
        self.sum_names = list(plan.column_sums)
        self.mass_names = list(plan.row_masses)
        sums = [plan.column_sums[name] for name in self.sum_names]

        def mask(tensor, what):
            return over_batch(tensor, x.kv_len, x.batch, device, what).bool()

        ones = torch.ones(x.kv_len)
        self.weights = [
            over_batch(ones if s.row_weights is None else s.row_weights, x.kv_len, x.batch, device,
                       f"row_weights of column sum '{name}'").to(x.dtype)
            for name, s in zip(self.sum_names, sums, strict=True)
        ]  # fmt: skip
        self.excluded = [
            None if s.exclude is None else mask(s.exclude, f"exclude of column sum '{name}'")
            for name, s in zip(self.sum_names, sums, strict=True)
        ]
        keys = [mask(plan.row_masses[name].keys, f"keys of row mass '{name}'") for name in self.mass_names]
        keys += [~e for e in self.excluded if e is not None]
        self.keys = torch.stack(keys, dim=-1).to(x.dtype) if keys else None  # (B, T, n)
        self.distances = {}  # min_distance > 0 -> indices of its sums
        for n, s in enumerate(sums):
            if s.min_distance:
                self.distances.setdefault(s.min_distance, []).append(n)
        new = {"dtype": x.dtype, "device": device}
        self.sums = torch.zeros(*shape, len(sums), x.kv_len, **new) if sums else None
        self.masses = torch.zeros(*shape, x.q_len, len(keys), **new) if keys else None
        self.diagonal = torch.zeros(*shape, x.q_len, **new) if plan.diagonal else None

    def add(self, weights, sink_mass, batch: slice, kv: slice, rows: slice, first: int, last: int):
        x = self.x
        heads = slice(kv.start * x.groups, kv.stop * x.groups)
        b, h, r = batch.stop - batch.start, heads.stop - heads.start, rows.stop - rows.start
        weights = weights.view(b, h, r, last - first)
        if self.diagonal is not None:
            at = rows.start + x.offset - first  # column of the first row's own position
            self.diagonal[batch, heads, rows] = _diagonal(weights, at)
        mass = None
        if self.keys is not None:
            mass = torch.matmul(weights.view(b, h * r, -1), self.keys[batch, first:last]).view(b, h, r, -1)
            self.masses[batch, heads, rows] = mass
        if self.sums is None:
            return
        factors = self._factors(mass, sink_mass, batch, heads, rows)  # (b, h, S, r)
        part = torch.matmul(factors, weights)  # (b, h, S, K)
        for distance, which in self.distances.items():
            low = max(first, rows.start + x.offset - distance + 1)  # columns before `low` are far enough from all rows
            if low >= last:
                continue
            query = torch.arange(rows.start + x.offset, rows.stop + x.offset, device=weights.device)
            keep = torch.arange(low, last, device=weights.device) <= query[:, None] - distance
            part[:, :, which, low - first :] = torch.matmul(factors[:, :, which], weights[..., low - first :] * keep)
        self.sums[batch, heads, :, first:last] += part

    def _factors(self, mass, sink_mass, batch, heads, rows):
        """Row weights (b, h, S, r); where columns are excluded, divided by the mass that is left."""
        x = self.x
        here = slice(rows.start + x.offset, rows.stop + x.offset)
        h = heads.stop - heads.start
        n = len(self.mass_names)
        out = []
        for name, w, excluded in zip(self.sum_names, self.weights, self.excluded, strict=True):
            w = w[batch, None, here].expand(-1, h, -1)
            if excluded is not None:
                left = mass[..., n]
                n += 1
                if sink_mass is not None:
                    left = left + sink_mass.view_as(left)
                gone = left <= 0
                if bool((gone & (w != 0)).any()):
                    seen = x.visible.seen(batch, heads, rows, 0, x.kv_len)
                    some = (seen & ~excluded[batch, None, None]).any(-1)
                    if bool((gone & (w != 0) & some).any()):
                        raise AtlasError(
                            f"Column sum '{name}': some query puts all its measurable attention on the excluded keys, "
                            "so its row cannot be renormalised; exclude fewer keys or give such rows weight 0."
                        )
                w = torch.where(gone, 0, w / left.masked_fill(gone, 1))
            out.append(w)
        return torch.stack(out, dim=2)

    def store(self, record, layer: int):
        for n, name in enumerate(self.sum_names):
            total = self.sums[:, :, n].clone()
            if self.excluded[n] is not None:
                total.masked_fill_(self.excluded[n][:, None], 0)
            record.column_sums[name][layer] = total
        for n, name in enumerate(self.mass_names):
            record.row_masses[name][layer] = self.masses[..., n].clone()
        if self.diagonal is not None:
            record.diagonal[layer] = self.diagonal


def _diagonal(weights, at: int):
    """weights[..., r, at + r] for every row r; 0 where that column is outside the tile."""
    out = weights.new_zeros(weights.shape[:-1])
    lowest = max(0, -at)
    part = torch.diagonal(weights, offset=at, dim1=-2, dim2=-1)
    out[..., lowest : lowest + part.shape[-1]] = part
    return out


def tiles(x: AttentionInputs):
    """(batch, kv, rows, span) slices that cover the layer, each at most TILE_ELEMENTS scores (or one kv head)."""
    block = x.visible.block
    for n, span in enumerate(x.visible.spans):
        rows = slice(n * block, min((n + 1) * block, x.q_len))
        size = x.groups * (rows.stop - rows.start) * (span[3] - span[0])
        fit = max(1, TILE_ELEMENTS // size)
        if fit >= x.kv_heads:
            step = fit // x.kv_heads
            for b in range(0, x.batch, step):
                yield slice(b, min(b + step, x.batch)), slice(0, x.kv_heads), rows, span
        else:
            for b in range(x.batch):
                for kv in range(0, x.kv_heads, fit):
                    yield slice(b, b + 1), slice(kv, min(kv + fit, x.kv_heads)), rows, span


@torch.no_grad()
def blocked_attention(x: AttentionInputs, collector: Collector | None, want_output: bool, scratch: Scratch):
    """One pass over the query blocks.  Returns the attention output (B, Q, H, Dv), or None if it is not wanted."""
    out = None
    if want_output:
        out = x.query.new_empty(x.batch, x.q_len, x.heads, x.value.shape[-1], dtype=x.value.dtype)
    for batch, kv, rows, span in tiles(x):
        weights, sink_mass = tile_weights(x, batch, kv, rows, span, scratch)
        if want_output:
            start = batch.start * x.kv_heads + kv.start
            value = x.flat()[1][start : start + weights.shape[0], span[0] : span[3]]
            part = torch.bmm(weights.to(value.dtype), value)
            b, n_kv, r = batch.stop - batch.start, kv.stop - kv.start, rows.stop - rows.start
            part = part.view(b, n_kv * x.groups, r, -1).transpose(1, 2)
            out[batch, rows, kv.start * x.groups : kv.stop * x.groups] = part
        if collector is not None:
            collector.add(weights, sink_mass, batch, kv, rows, span[0], span[3])
    x.release()
    return out
