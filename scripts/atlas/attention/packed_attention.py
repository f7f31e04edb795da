"""The attention function of packs: each bucket of prompts for itself, each token sees its own past."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ..errors import AtlasError
from .edits import apply_edits
from .interface import own_attention
from .kernels import AttentionInputs
from .layers import layer_of
from .masks import Visibility
from .packs import Bucket, Pack
from .plan import Plan

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
    from torch import Tensor, nn

# No mask function is registered under this name, so transformers builds no mask: the pack knows what is visible.
PACKED = "atlas_packed"
# Up to this many keys the whole matrix of scores stays in a CPU's cache.
_SHORT = 128


class Captured(Exception):
    """Ends the last layer's first pass once its keys and values are known."""


@dataclass
class PackState:
    """One active `packed` context."""

    pack: Pack
    fused: bool  # the model's classes declare that SDPA computes their attention
    plan: Plan = field(default_factory=Plan)
    rows: int = 1
    first: int | None = None  # the layer that is given one row for all, up to its output projection
    capturing: bool = False  # the last layer's first pass: keys and values of all tokens
    cached: tuple[Tensor, Tensor] | None = None  # those, while the last layer runs on last tokens only
    on_device: dict[torch.device, Pack] = field(default_factory=dict)
    masks: dict[tuple[int, int | None, bool, torch.device], Tensor] = field(default_factory=dict)

    def at(self, device: torch.device) -> Pack:
        """The pack on `device`, moved once."""
        if device not in self.on_device:
            self.on_device[device] = self.pack.to(device)
        return self.on_device[device]

    def mask(
        self, pack: Pack, number: int, window: int | None, only_last: bool, device: torch.device
    ) -> Bool[Tensor, "prompts queries keys"]:
        """(S, Q, K) bool of bucket `number`, made once."""
        key = (number, window, only_last, device)
        if key not in self.masks:
            bucket = (pack.last_buckets if only_last else pack.buckets)[number]
            self.masks[key] = bucket.visible(pack.positions[bucket.queries], window)
        return self.masks[key]


ACTIVE: contextvars.ContextVar[PackState | None] = contextvars.ContextVar("atlas_packed", default=None)


def active() -> PackState:
    """The state of the `packed` context that the forward runs in."""
    state = ACTIVE.get()
    if state is None:
        raise AtlasError("Packed attention ran outside its context; use `with packed(model, pack):`.")
    return state


def _take(
    tensor: Float[Tensor, "batch heads tokens width"], index: Int[Tensor, "prompts taken"]
) -> Float[Tensor, "batch_prompts heads taken width"]:
    """(B, H, N, D) and (S, K) indices into N -> (B * S, H, K, D)."""
    b, h, _, d = tensor.shape
    s, k = index.shape
    return tensor.index_select(2, index.flatten()).view(b, h, s, k, d).transpose(1, 2).reshape(b * s, h, k, d)


def _short_attention(
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch kv_heads keys width"],
    value: Float[Tensor, "batch kv_heads keys value_width"],
    visible: Bool[Tensor, "prompts queries keys"],
    scaling: float,
) -> Float[Tensor, "batch queries heads value_width"]:
    """Softmax attention of short prompts as two batched products: query (B, H, Q, D) -> (B, Q, H, Dv).

    key, value (B, KV, K, ...); visible (S, Q, K) for B = rows * S. Scores and softmax in float32 (float64 for a float64
    model). A CPU's fused kernel works off one head of one prompt at a time, and each is too small for it.
    """
    b, h, q, d = query.shape
    kv, k = key.shape[1:3]
    exact = torch.float64 if query.dtype == torch.float64 else torch.float32
    scores = torch.bmm(
        (query.to(exact) * scaling).reshape(b * kv, h // kv * q, d), key.to(exact).reshape(b * kv, k, d).transpose(1, 2)
    )
    scores.view(-1, *visible.shape[:1], h, q, k).masked_fill_(~visible[None, :, None], -torch.inf)
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    return torch.bmm(weights, value.reshape(b * kv, k, -1)).view(b, h, q, -1).transpose(1, 2)


@dataclass
class _Call:
    """One call of the attention function: the layer and what it hands over beside queries, keys and values.

    given, rows: batch rows that come in and that leave.
    """

    module: nn.Module
    plan: Plan
    layer: int
    given: int
    rows: int
    scaling: float
    fused: bool
    softcap: float | None
    sinks: Float[Tensor, " heads"] | None
    options: dict[str, Any]

    def attention(
        self,
        query: Float[Tensor, "batch heads queries width"],
        key: Float[Tensor, "batch kv_heads keys width"],
        value: Float[Tensor, "batch kv_heads keys value_width"],
        visible: Bool[Tensor, "prompts queries keys"],
    ) -> Float[Tensor, "all_rows queries heads value_width"]:
        """The output of one bucket, edited, for all rows."""
        special = {"softcap": self.softcap, "s_aux": self.sinks}
        special = {name: option for name, option in special.items() if option is not None}
        edited, plain = self.plan.edits(self.layer), self.fused and not special
        short = plain and query.device.type == "cpu" and key.shape[2] <= _SHORT
        mask = None
        if edited or not short:
            mask = visible[None, :, None].expand(self.given, -1, -1, -1, -1).reshape(-1, 1, *visible.shape[1:])
        if short:
            out = _short_attention(query, key, value, visible, self.scaling)
        elif plain:
            out, _ = sdpa_attention_forward(self.module, query, key, value, mask, dropout=0.0, scaling=self.scaling)
        else:
            out, _ = own_attention(self.module, query, key, value, mask, False, scaling=self.scaling, dropout=0.0,
                                   **special, **self.options)  # fmt: skip
        if self.rows > self.given:
            query, key, value, out = (tensor.repeat(self.rows, 1, 1, 1) for tensor in (query, key, value, out))
            mask = mask if mask is None else mask.repeat(self.rows, 1, 1, 1)
        if edited:
            seen = Visibility(mask, False, len(query), query.shape[2], key.shape[2], query.shape[2], query.device)
            x = AttentionInputs(query, key, value, seen, self.scaling, self.softcap, self.sinks)
            out = apply_edits(out, x, _repeated(self.plan, self.layer, len(visible)), self.layer)
        return out


def _attention(
    module: nn.Module,
    query: Float[Tensor, "given heads tokens width"],
    key: Float[Tensor, "given kv_heads tokens width"],
    value: Float[Tensor, "given kv_heads tokens value_width"],
    attention_mask: None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " heads"] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows tokens heads value_width"], None]:
    """transformers' attention function over packs: returns (output (B, N, H, Dv), None)."""
    state = active()
    if state.capturing:
        state.cached = key, value
        raise Captured
    pack, layer = state.at(query.device), cast(int, layer_of(module))
    only_last = state.cached is not None
    if state.cached is not None:
        key, value = state.cached
    given = query.shape[0]
    rows = state.rows if layer == state.first else given  # the first layer is given one row for all
    call = _Call(module, state.plan, layer, given, rows, query.shape[-1] ** -0.5 if scaling is None else scaling,
                 state.fused, softcap, s_aux, kwargs)  # fmt: skip
    out = query.new_empty(rows, query.shape[2], query.shape[1], value.shape[-1])
    for number, bucket in enumerate(pack.last_buckets if only_last else pack.buckets):
        visible = state.mask(pack, number, sliding_window, only_last, query.device)
        queries = bucket.prompts[:, None] if only_last else bucket.queries
        part = call.attention(_take(query, queries), _take(key, bucket.keys), _take(value, bucket.keys), visible)
        _put(out, part, queries, bucket)
    return (_beside(out) if layer == state.first else out), None


AttentionInterface.register(PACKED, _attention)


def _put(
    out: Float[Tensor, "rows tokens heads value_width"],
    part: Float[Tensor, "rows_prompts queries heads value_width"],
    queries: Int[Tensor, "prompts queries"],
    bucket: Bucket,
) -> None:
    """Write a bucket's output to the places of its tokens, without its padding."""
    part, target = part.reshape(len(out), -1, *part.shape[2:]), queries.flatten()
    if bucket.real is not None:
        part, target = part[:, bucket.real], target[bucket.real]
    out[:, target] = part


def _beside(
    out: Float[Tensor, "rows tokens heads value_width"],
) -> Float[Tensor, "1 tokens heads rows_value_width"]:
    """(rows, N, H, Dv) as one row (1, N, H, rows * Dv), which modelling code takes for a wider head."""
    rows, tokens, heads, width = out.shape
    return out.permute(1, 2, 0, 3).reshape(1, tokens, heads, rows * width)


def stacked(rows: int, heads: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    """A hook before the output projection that undoes `_beside`: from here on the layer has all rows."""

    def pre(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        flat = args[0].unflatten(-1, (heads, rows, -1))  # (1, N, H, rows, Dv)
        return (flat[0].permute(2, 0, 1, 3).flatten(2), *args[1:])

    return pre


def _repeated(plan: Plan, layer: int, times: int) -> Plan:
    """The plan's edits of `layer`, each batch row's `times` times: once per prompt of a bucket."""

    def rows(edit: Shaped[Tensor, "rows heads"]) -> Shaped[Tensor, "rows_prompts heads"]:
        return edit.repeat_interleave(times, 0) if edit.shape[0] > 1 else edit

    return Plan(
        uniform={layer: rows(plan.uniform[layer])} if layer in plan.uniform else {},
        scale={layer: rows(plan.scale[layer])} if layer in plan.scale else {},
        replace={layer: (rows(plan.replace[layer][0]), plan.replace[layer][1])} if layer in plan.replace else {},
    )
