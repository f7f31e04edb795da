"""Head edits, each (batch row, head) for itself: uniform attention, replaced output, scaled output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import AtlasError
from ..models.transfers import sent

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped
    from torch import Tensor

    from .kernels import AttentionInputs
    from .plan import Plan


def uniform_output(x: AttentionInputs) -> Float[Tensor, "batch queries heads value_width"]:
    """Output (B, Q, H, Dv) of heads whose scores are all 0, the exact limit of scaling the query to 0.

    Each row is the mean of the values that it sees (Zhou et al., arXiv 2410.13708, undifferentiated attention, here
    without the small epsilon).  A learned sink logit s stays in the denominator: weights 1 / (n + exp(s)).  A row
    that sees nothing gives 0. Of families that add something to scores (ALiBi, learned positions, a mask that weighs)
    that is what is left of them.
    """
    mask = x.visible.mask
    if x.position_bias is not None or (mask is not None and mask.dtype != torch.bool):
        return _biased_output(x)
    value = x.value.to(x.dtype)
    if x.visible.mask is None and x.visible.causal:
        total = value.cumsum(2)[:, :, x.offset :]  # (B, KV, Q, Dv)
        count = torch.arange(x.offset + 1, x.kv_len + 1, device=value.device, dtype=x.dtype)[:, None]
        total = total.repeat_interleave(x.groups, dim=1)
    else:
        heads, totals, counts = slice(0, x.heads), [], []
        for start in range(0, x.q_len, x.visible.block):
            rows = slice(start, min(start + x.visible.block, x.q_len))
            seen = x.visible.seen(slice(0, x.batch), heads, rows, 0, x.kv_len).to(x.dtype)
            seen = seen.expand(-1, -1, rows.stop - start, -1)
            wide = value if seen.shape[1] == 1 else value.repeat_interleave(x.groups, dim=1)
            part = torch.matmul(seen, wide)
            totals.append(part if seen.shape[1] > 1 else part.repeat_interleave(x.groups, dim=1))
            counts.append(seen.sum(-1, keepdim=True))
        total, count = torch.cat(totals, dim=2), torch.cat(counts, dim=2)
    sink = 0 if x.sinks is None else x.sinks.to(x.dtype).exp().reshape(1, -1, 1, 1)
    count = (count + sink).masked_fill(count == 0, 1)
    return (total / count).to(x.value.dtype).transpose(1, 2)


def _biased_output(x: AttentionInputs) -> Float[Tensor, "batch queries heads value_width"]:
    """`uniform_output` where a mask or a bias is added to the scores: their softmax without query and key."""
    value, parts = x.value.to(x.dtype).repeat_interleave(x.groups, dim=1), []
    for start in range(0, x.q_len, x.visible.block):
        rows = slice(start, min(start + x.visible.block, x.q_len))
        seen = x.visible.seen(slice(0, x.batch), slice(0, x.heads), rows, 0, x.kv_len)
        scores = value.new_zeros(x.batch, x.heads, rows.stop - start, x.kv_len)
        for added in (x.visible.mask, x.position_bias):
            if added is not None and added.dtype != torch.bool:
                scores += added[:, :, rows, : x.kv_len].to(x.dtype)
        scores = scores.masked_fill(~seen, -torch.inf)
        if x.sinks is not None:
            sink = x.sinks.to(x.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
            scores = torch.cat([scores, sink], dim=-1)
        weights = torch.softmax(scores, dim=-1)[..., : x.kv_len]
        parts.append(torch.matmul(weights.masked_fill(~seen.any(-1, keepdim=True), 0), value))
    return torch.cat(parts, dim=2).to(x.value.dtype).transpose(1, 2)


def _heads(
    tensor: Shaped[Tensor, "rows heads"], x: AttentionInputs, plan: Plan, layer: int, what: str
) -> Shaped[Tensor, "rows 1 heads 1"]:
    if tensor.dim() != 2 or tensor.shape[0] not in (1, x.batch) or tensor.shape[1] != x.heads:
        raise AtlasError(
            f"The {what} edit of layer {layer} has shape {tuple(tensor.shape)}, but the layer has {x.heads} heads "
            f"and the batch {x.batch} rows; give ({x.batch}, {x.heads})."
        )
    key = (what, layer, x.query.device)
    if key not in plan.moved or plan.moved[key][0] is not tensor:  # generation asks for it with every token
        plan.moved[key] = tensor, sent(tensor, x.query.device)
    return plan.moved[key][1][:, None, :, None]


def apply_edits(
    out: Float[Tensor, "batch queries heads value_width"], x: AttentionInputs, plan: Plan, layer: int
) -> Float[Tensor, "batch queries heads value_width"]:
    """Attention output (B, Q, H, Dv) after the plan's edits of this layer.

    Raises AtlasError for an edit whose shape is not (B, H) or (1, H).
    """
    if layer in plan.uniform:
        out = torch.where(_heads(plan.uniform[layer], x, plan, layer, "uniform").bool(), uniform_output(x), out)
    if layer in plan.replace:
        where, values = plan.replace[layer]
        out = torch.where(_heads(where, x, plan, layer, "replace").bool(), values.to(out).expand_as(out), out)
    if layer in plan.scale:
        out = out * _heads(plan.scale[layer], x, plan, layer, "scale").to(out.dtype)
    return out.contiguous()  # as attention functions return it: some families take views of it
