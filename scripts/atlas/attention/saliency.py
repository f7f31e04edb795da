"""Attention rows, their gradients and saliency sums, without a T x T tensor.

With g(i) = dL/dO(i) at the attention output of head h (before the output projection),
    dL/dA_h(i, j) = <g_h(i), v_h(j)>        S_h(i, j) = A_h(i, j) * dL/dA_h(i, j)
(saliency of Luo et al., arXiv 2601.07422, after Wang et al., arXiv 2305.14160).  Everything here is a pure function
of a layer's AttentionInputs and of g, so several losses can share one forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .kernels import TILE_ELEMENTS, AttentionInputs, Scratch, tile_weights
from .plan import Flow, over_batch


@dataclass
class FlowSums:
    """Saliency summed over the pairs of a flow, for each text of the batch.

    signed (B, H): sum of S_h; absolute (B, H): sum of |S_h|; sum_then_abs (B,): sum over pairs of |sum_h S_h|;
    pairs (B,): number of pairs (i, j) by position, for means.  sum_then_abs <= absolute.sum(1).
    """

    signed: torch.Tensor
    absolute: torch.Tensor
    sum_then_abs: torch.Tensor
    pairs: torch.Tensor


def _weights(x: AttentionInputs, rows, last: int, scratch: Scratch):
    """A[b, h, rows, :last] in scratch memory, rows an index tensor of local queries."""
    span = (0, last, last, last) if x.visible.mask is None and not x.visible.causal else (0, 0, 0, last)
    weights, _ = tile_weights(x, slice(0, x.batch), slice(0, x.kv_heads), rows, span, scratch)
    return weights.view(x.batch, x.heads, len(rows), last)


@torch.no_grad()
def attention_rows(x: AttentionInputs, rows: torch.Tensor) -> torch.Tensor:
    """A[b, h, rows, :] (B, H, R, T) of local query indices `rows` (R,)."""
    out = _weights(x, rows, x.kv_len, Scratch())
    x.release()
    return out


@torch.no_grad()
def attention_gradients(x: AttentionInputs, grad: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """dL/dA[b, h, rows, :] (B, H, R, T) from grad = dL/dO (B, Q, H, Dv).

    On keys that a row does not see the number is meaningless, and A is 0 there.
    """
    g = grad[:, rows].transpose(1, 2).to(x.dtype)
    g = g.reshape(x.batch, x.kv_heads, -1, g.shape[-1])
    out = torch.matmul(g, x.value.detach().to(x.dtype).transpose(-1, -2))
    return out.view(x.batch, x.heads, len(rows), x.kv_len)


def _weights_at(x: AttentionInputs, rows, here, columns, key):
    """A[b, h, rows, columns[b]] (B, H, R, C) from the normaliser of each row, without the rest of the row.

    rows (R,) local queries, `here` the same as an index or a slice; columns (B, C) positions; key (B, KV, C, D) what
    stands there.
    """
    query = x.query.detach()[:, :, here].to(x.dtype).reshape(x.batch, x.kv_heads, -1, x.width)
    scores = torch.matmul(query, key.transpose(-1, -2)).view(x.batch, x.heads, len(rows), -1).mul_(x.scaling)
    weights = scores.sub_(x.log_normaliser[:, :, here, None]).exp_()
    if x.visible.mask is None and x.visible.causal:
        return weights.masked_fill_((columns[:, None] > (rows + x.offset)[:, None])[:, None], 0)
    seen = x.visible.seen(slice(0, x.batch), slice(0, x.heads), rows, 0, x.kv_len)
    seen = seen.expand(x.batch, -1, len(rows), -1)
    seen = seen.gather(-1, columns[:, None, None].expand(-1, seen.shape[1], len(rows), -1))
    return weights.masked_fill_(~seen, 0)


@torch.no_grad()
def flow_sums(x: AttentionInputs, grad: torch.Tensor, flows: dict[str, Flow], block: int = 128) -> dict[str, FlowSums]:
    """Saliency sums of every flow from grad = dL/dO (B, Q, H, Dv); memory O(block * T), rows in no flow are skipped.

    Every row's softmax runs over all its keys, only the flows' columns are multiplied with gradients. Where the fused
    kernel kept the rows' normalisers, only those columns are computed.
    """
    device, scratch = grad.device, Scratch()
    rows = {n: over_batch(f.rows, x.kv_len, x.batch, device, f"rows of flow '{n}'").bool() for n, f in flows.items()}
    columns = {
        n: over_batch(f.columns, x.kv_len, x.batch, device, f"columns of flow '{n}'").bool() for n, f in flows.items()
    }
    wanted = torch.stack(list(rows.values())).any(0).any(0)[x.offset :].nonzero()[:, 0]
    union = torch.stack(list(columns.values())).any(0)  # (B, T)
    width = max(1, int(union.sum(1).max()))
    picked = union.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :width]  # (B, C), tail is filler
    at = picked[:, None, :, None].expand(-1, x.kv_heads, -1, x.value.shape[-1])
    value = x.value.detach().gather(2, at).to(x.dtype)  # (B, KV, C, Dv)
    if x.log_normaliser is not None:  # rows of C numbers instead of T: more of them at once
        block = max(block, TILE_ELEMENTS // (x.batch * x.heads * width))
        at = picked[:, None, :, None].expand(-1, x.kv_heads, -1, x.width)
        key = x.key.detach().gather(2, at).to(x.dtype)  # (B, KV, C, D)
    new = {"dtype": x.dtype, "device": device}
    sums = {
        n: FlowSums(
            torch.zeros(x.batch, x.heads, **new),
            torch.zeros(x.batch, x.heads, **new),
            torch.zeros(x.batch, **new),
            torch.zeros(x.batch, dtype=torch.long, device=device),
        )
        for n in flows
    }
    for local in wanted.split(block) if len(wanted) else ():
        run = slice(int(local[0]), int(local[-1]) + 1)
        here = run if run.stop - run.start == len(local) else local  # a slice is read without a copy
        if x.log_normaliser is not None:
            a = _weights_at(x, local, here, picked, key)
        else:
            last = int(local[-1]) + x.offset + 1 if x.visible.mask is None and x.visible.causal else x.kv_len
            a = _weights(x, local, last, scratch)
            a = a.gather(-1, picked.clamp(max=last - 1)[:, None, None].expand(-1, x.heads, len(local), -1))
        g = grad[:, here].transpose(1, 2).to(x.dtype).reshape(x.batch, x.kv_heads, -1, grad.shape[-1])
        s = torch.matmul(g, value.transpose(-1, -2)).view_as(a).mul_(a)  # (B, H, R, C)
        gap = (local + x.offset)[None, :, None] - picked[:, None]  # (B, R, C) distance i - j
        for n, flow in flows.items():
            chosen = rows[n][:, local + x.offset, None] & columns[n].gather(1, picked)[:, None]
            chosen &= gap >= flow.min_distance
            part = s * chosen[:, None]
            sums[n].signed += part.sum((-1, -2))
            sums[n].sum_then_abs += part.sum(1).abs().sum((-1, -2))
            sums[n].absolute += part.abs_().sum((-1, -2))
            sums[n].pairs += chosen.sum((-1, -2))
    x.release()
    return sums
