"""Attention rows, their gradients and saliency sums, without a T x T tensor.

With g(i) = dL/dO(i) at the attention output of head h (before the output projection),
    dL/dA_h(i, j) = <g_h(i), v_h(j)>        S_h(i, j) = A_h(i, j) * dL/dA_h(i, j)
(saliency of Luo et al., arXiv 2601.07422, after Wang et al., arXiv 2305.14160).  Everything here is a pure function
of a layer's AttentionInputs and of g, so several losses can share one forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..errors import AtlasError
from ..models.transfers import fetched, sent
from .kernels import TILE_ELEMENTS, AttentionInputs, Scratch, block_rows, tile_weights
from .masks import Span
from .plan import Flow, over_batch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


@dataclass
class FlowSums:
    """Saliency summed over the pairs of a flow, for each text of the batch.

    signed (B, H): sum of S_h; absolute (B, H): sum of |S_h|; sum_then_abs (B,): sum over pairs of |sum_h S_h|;
    pairs (B,): number of pairs (i, j) by position, for means.  sum_then_abs <= absolute.sum(1).
    """

    signed: Float[Tensor, "batch heads"]
    absolute: Float[Tensor, "batch heads"]
    sum_then_abs: Float[Tensor, " batch"]
    pairs: Int[Tensor, " batch"]

    @classmethod
    def zero(cls, x: AttentionInputs) -> FlowSums:
        """The sums over no pair, of the batch and heads of `x`."""
        numbers = torch.zeros(x.batch, x.heads, dtype=x.dtype, device=x.query.device)
        texts = torch.zeros(x.batch, dtype=x.dtype, device=x.query.device)
        return cls(numbers, numbers.clone(), texts, texts.long())


def _weights(
    x: AttentionInputs, rows: Int[Tensor, " rows"], last: int, scratch: Scratch
) -> Float[Tensor, "batch heads rows last"]:
    """A[b, h, rows, :last] in scratch memory, rows an index tensor of local queries."""
    everywhere = x.visible.mask is None and not x.visible.causal
    span = Span(0, last, last, last) if everywhere else Span(0, 0, 0, last)
    weights, _ = tile_weights(x, slice(0, x.batch), slice(0, x.kv_heads), rows, span, scratch)
    return weights.view(x.batch, x.heads, len(rows), last)


@torch.no_grad()
def attention_rows(x: AttentionInputs, rows: Int[Tensor, " rows"]) -> Float[Tensor, "batch heads rows keys"]:
    """A[b, h, rows, :] (B, H, R, T) of local query indices `rows` (R,)."""
    out = _weights(x, rows, x.kv_len, Scratch())
    x.release()
    return out


@torch.no_grad()
def attention_gradients(
    x: AttentionInputs, grad: Float[Tensor, "batch queries heads value_width"], rows: Int[Tensor, " rows"]
) -> Float[Tensor, "batch heads rows keys"]:
    """dL/dA[b, h, rows, :] (B, H, R, T) from grad = dL/dO (B, Q, H, Dv).

    On keys that a row does not see the number is meaningless, and A is 0 there.
    """
    g = grad[:, rows].transpose(1, 2).to(x.dtype)
    g = g.reshape(x.batch, x.kv_heads, -1, g.shape[-1])
    out = torch.matmul(g, x.value.detach().to(x.dtype).transpose(-1, -2))
    return out.view(x.batch, x.heads, len(rows), x.kv_len)


def _weights_at(
    x: AttentionInputs,
    rows: Int[Tensor, " rows"],
    here: slice | Int[Tensor, " rows"],
    columns: Int[Tensor, "batch columns"],
    key: Float[Tensor, "batch kv_heads columns width"],
    normaliser: Float[Tensor, "batch heads queries"],
) -> Float[Tensor, "batch heads rows columns"]:
    """A[b, h, rows, columns[b]] (B, H, R, C) from the normaliser of each row, without the rest of the row.

    rows (R,) local queries, `here` the same as an index or a slice; columns (B, C) positions; key (B, KV, C, D) what
    stands there.
    """
    query = x.query.detach()[:, :, here].to(x.dtype).reshape(x.batch, x.kv_heads, -1, x.width)
    scores = torch.matmul(query, key.transpose(-1, -2)).view(x.batch, x.heads, len(rows), -1).mul_(x.scaling)
    weights = scores.sub_(normaliser[:, :, here, None]).exp_()
    if x.visible.mask is None and x.visible.causal:
        return weights.masked_fill_((columns[:, None] > (rows + x.offset)[:, None])[:, None], 0)
    seen = x.visible.seen(slice(0, x.batch), slice(0, x.heads), rows, 0, x.kv_len)
    seen = seen.expand(x.batch, -1, len(rows), -1)
    seen = seen.gather(-1, columns[:, None, None].expand(-1, seen.shape[1], len(rows), -1))
    return weights.masked_fill_(~seen, 0)


class FlowPairs:
    """The pairs of `flows` as a forward meets them: which rows and columns any flow needs, made once for all layers.

    Worked out on the CPU and sent to each device that asks. batch texts, keys and offset as of AttentionInputs.
    Raises AtlasError for a flow whose masks do not fit the batch, or that is without one that does not stand before it.
    """

    def __init__(self, flows: Mapping[str, Flow], batch: int, keys: int, offset: int) -> None:
        self.distances = {name: flow.min_distance for name, flow in flows.items()}
        self.without = {name: tuple(flow.without) for name, flow in flows.items()}
        names = list(flows)
        for name, others in self.without.items():
            for other in others:
                if other not in names[: names.index(name)]:
                    raise AtlasError(f"flow '{name}' is without '{other}', which is no flow before it; put it there.")
        self.shape = batch, keys, offset
        given = fetched([torch.as_tensor(part) for flow in flows.values() for part in (flow.rows, flow.columns)])
        whats = [f"{part} of flow '{name}'" for name in flows for part in ("rows", "columns")]
        host = torch.device("cpu")
        masks = [over_batch(x, keys, batch, host, what).bool() for x, what in zip(given, whats, strict=True)]
        self._rows, self._columns = torch.stack(masks[::2]), torch.stack(masks[1::2])  # (flows, B, T)
        self.rows: Int[Tensor, " rows"] = self._rows.any(0).any(0)[offset:].nonzero()[:, 0]  # local, on the CPU
        wanted = self._columns.any(0)
        self.width = max(1, int(wanted.sum(1).max()))
        picked = wanted.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        self._picked: Int[Tensor, "batch columns"] = picked[:, : self.width]
        self._at: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def at(
        self, device: torch.device
    ) -> tuple[Bool[Tensor, "flows batch keys"], Bool[Tensor, "flows batch columns"], Int[Tensor, "batch columns"]]:
        """(rows of each flow, its picked columns, picked (B, C)) on `device`.

        picked: positions of the columns that any flow needs, C the most that a text needs; the tail is filler.
        """
        if device not in self._at:
            chosen = self._columns.gather(2, self._picked.expand(len(self._columns), -1, -1))
            self._at[device] = sent(self._rows, device), sent(chosen, device), sent(self._picked, device)
        return self._at[device]


class _Columns:
    """The keys and values that stand in the picked columns: key (B, KV, C, D), value (B, KV, C, Dv)."""

    def __init__(self, x: AttentionInputs, picked: Int[Tensor, "batch columns"]) -> None:
        self.picked = picked
        self.value = self._at(x, x.value)
        # Keys serve a row whose normaliser is known; other rows are computed whole.
        self.key = None if x.log_normaliser is None else self._at(x, x.key)

    def _at(
        self, x: AttentionInputs, states: Float[Tensor, "batch kv_heads keys any"]
    ) -> Float[Tensor, "batch kv_heads columns any"]:
        at = self.picked[:, None, :, None].expand(-1, x.kv_heads, -1, states.shape[-1])
        return states.detach().gather(2, at).to(x.dtype)

    def weights(
        self,
        x: AttentionInputs,
        rows: Int[Tensor, " rows"],
        here: slice | Int[Tensor, " rows"],
        last: int,
        scratch: Scratch,
    ) -> Float[Tensor, "batch heads rows columns"]:
        """A[b, h, rows, picked[b]]; `here`: the rows as an index or a slice; last: keys that the last of them sees."""
        if x.log_normaliser is not None and self.key is not None:
            return _weights_at(x, rows, here, self.picked, self.key, x.log_normaliser)
        last = last if x.visible.mask is None and x.visible.causal else x.kv_len
        whole = _weights(x, rows, last, scratch)
        return whole.gather(-1, self.picked.clamp(max=last - 1)[:, None, None].expand(-1, x.heads, len(rows), -1))


@torch.no_grad()
def flow_sums(
    x: AttentionInputs,
    grad: Float[Tensor, "batch queries heads value_width"],
    flows: Mapping[str, Flow] | FlowPairs,
    block: int = 128,
) -> dict[str, FlowSums]:
    """Saliency sums of every flow from grad = dL/dO (B, Q, H, Dv); memory O(block * T), rows in no flow are skipped.

    Every row's softmax runs over all its keys, only the flows' columns are multiplied with gradients. Where the fused
    kernel kept the rows' normalisers, only those columns are computed. `flows`: for many layers, FlowPairs made once.
    Raises AtlasError for a flow whose masks do not fit the batch.

        with attend(model, Plan(grads=True, capture=True)) as record:
            loss = model(input_ids, attention_mask=mask, use_cache=False).logits[:, -1, 7].sum()
        x = record.captures[0]
        (grad,) = torch.autograd.grad(loss, [x.output])
        flow_sums(x, grad, {"all": Flow(torch.ones(tokens), torch.ones(tokens), min_distance=1)})["all"].signed
    """
    device, scratch = grad.device, Scratch()
    pairs = flows if isinstance(flows, FlowPairs) else FlowPairs(flows, x.batch, x.kv_len, x.offset)
    in_rows, in_columns, picked = pairs.at(device)
    columns = _Columns(x, picked)
    sums = {name: FlowSums.zero(x) for name in pairs.distances}
    for chosen_rows in pairs.rows.split(_rows_at_once(x, pairs.width, block)) if len(pairs.rows) else ():
        run = slice(int(chosen_rows[0]), int(chosen_rows[-1]) + 1)
        local = sent(chosen_rows, device)
        here = run if run.stop - run.start == len(local) else local  # a slice is read without a copy
        a = columns.weights(x, local, here, run.stop + x.offset, scratch)
        g = grad[:, here].transpose(1, 2).to(x.dtype).reshape(x.batch, x.kv_heads, -1, grad.shape[-1])
        s = torch.matmul(g, columns.value.transpose(-1, -2)).view_as(a).mul_(a)  # (B, H, R, C)
        gap = (local + x.offset)[None, :, None] - picked[:, None]  # (B, R, C) distance i - j
        masks: dict[str, Bool[Tensor, "batch rows columns"]] = {}
        for n, (name, distance) in enumerate(pairs.distances.items()):
            chosen = in_rows[n][:, local + x.offset, None] & in_columns[n][:, None]
            chosen &= gap >= distance
            for other in pairs.without[name]:
                chosen &= ~masks[other]
            masks[name] = chosen
            part = s * chosen[:, None]
            sums[name].signed += part.sum((-1, -2))
            sums[name].sum_then_abs += part.sum(1).abs().sum((-1, -2))
            sums[name].absolute += part.abs_().sum((-1, -2))
            sums[name].pairs += chosen.sum((-1, -2))
    x.release()
    return sums


def _rows_at_once(x: AttentionInputs, columns: int, block: int) -> int:
    """Query rows of one round: `block`, more where a row is short enough or the device is a GPU."""
    if x.log_normaliser is not None:  # rows of C numbers instead of T
        return max(block, TILE_ELEMENTS["cpu"] // (x.batch * x.heads * columns))
    return block_rows(block, x.batch * x.heads * x.kv_len, x.q_len, x.visible.tile, x.query.device)
