"""The attention function that transformers calls, and the context in which a model uses it."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from ..errors import AtlasError
from .collector import Collector
from .edits import apply_edits
from .kernels import (
    AttentionInputs,
    Scratch,
    block_rows,
    blocked_attention,
    collect,
    kept_normaliser,
    tile_elements,
    vector_norms,
)
from .layers import layer_of, numbered_layers
from .longest import longest_text, refuse_longer
from .masks import Visibility, only_chosen
from .plan import Plan, Record
from .requirements import is_fused, require_evaluation, require_interface
from .saliency import attention_gradients, attention_rows, flow_sums

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    # As the model built it: boolean or additive, None where it is plainly causal or hides nothing.
    Mask = Shaped[Tensor, "#batch #heads queries keys"] | None
    Output = Float[Tensor, "batch queries heads value_width"]

# transformers dispatches on substrings: these names must not contain "sdpa", "flash" or "flex" nor start with "paged|".
FAST, EXACT = "atlas_attend", "atlas_attend_exact"


@dataclass
class _State:
    """One active `attend` context."""

    plan: Plan
    record: Record
    fused: bool  # the model's classes declare that SDPA computes their attention
    longest: int | None = None  # tokens up to which the engine was seen to follow the model
    padded_right: bool = False  # what a mask hides lies behind all that is read
    scratch: Scratch = field(default_factory=Scratch)
    tiles: dict[torch.device, int] = field(default_factory=dict)  # scores that are computed at once
    # mask, what it is for, and what is visible; a model has one or two
    masks: list[tuple[Tensor | None, tuple[object, ...], Visibility]] = field(default_factory=list)

    def visibility(self, mask: Mask, causal: bool, query: Tensor, kv_len: int) -> Visibility:
        """What queries (B, H, Q, D) see of kv_len keys under `mask`, made once for all layers of the same tensor."""
        (batch, heads, q_len, _), device = query.shape, query.device
        use = causal, batch, heads, q_len, kv_len, device
        for known, known_use, visible in self.masks:
            if known is mask and known_use == use:
                return visible
        if device not in self.tiles:
            self.tiles[device] = tile_elements(device)
        tile = self.tiles[device]
        block = block_rows(self.plan.block, batch * heads * kv_len, q_len, tile, device)
        visible = Visibility(mask, causal, batch, q_len, kv_len, block, device, tile, self.padded_right)
        self.masks = [*self.masks[-3:], (mask, use, visible)]
        return visible


_ACTIVE: contextvars.ContextVar[_State | None] = contextvars.ContextVar("atlas_attend", default=None)


def own_eager(module: nn.Module) -> Callable[..., tuple[Output, Tensor | None]]:
    """The eager function of the model file that defines the attention class."""
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function
    raise AtlasError(
        f"{type(module).__name__} has no eager attention function to fall back on; use a model of another family."
    )


def own_attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch kv_heads keys width"],
    value: Float[Tensor, "batch kv_heads keys value_width"],
    mask: Mask,
    causal: bool,
    **options: Any,
) -> tuple[Output, Tensor | None]:
    """(output, weights or None) by the model file's own eager function, under the mask that it would have built."""
    if mask is None and causal:
        n, t = query.shape[2], key.shape[2]
        mask = torch.ones(n, t, dtype=torch.bool, device=query.device).tril(t - n)[None, None]
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.where(mask, torch.zeros((), dtype=query.dtype, device=query.device), torch.finfo(query.dtype).min)
    return own_eager(module)(module, query, key, value, mask, **options)


def _attention(
    exact: bool,
    module: nn.Module,
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch kv_heads keys width"],
    value: Float[Tensor, "batch kv_heads keys value_width"],
    attention_mask: Mask,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " heads"] | None = None,
    position_bias: Float[Tensor, "#batch heads queries keys"] | None = None,
    indices: Int[Tensor, "batch queries chosen"] | None = None,
    **kwargs: Any,
) -> tuple[Output, Tensor | None]:
    """transformers' attention function: returns (output (B, Q, H, Dv), weights or None)."""
    state = _ACTIVE.get()
    if state is None:
        raise AtlasError("The attention function of `attend` ran outside its context; use `with attend(model, plan):`.")
    plan = state.plan
    layer = layer_of(module)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    q_len = query.shape[2]
    flag = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    causal = bool(flag and attention_mask is None and q_len > 1)
    if causal and key.shape[2] > q_len:  # prefill of a static cache: the keys behind the queries are still empty
        key, value = key[:, :, :q_len], value[:, :, :q_len]
        position_bias = None if position_bias is None else position_bias[..., :q_len]
    refuse_longer(state.longest, key.shape[2])
    if indices is not None:
        attention_mask, causal = only_chosen(attention_mask, indices, key.shape[2]), False
    visible = state.visibility(attention_mask, causal, query, key.shape[2])
    x = AttentionInputs(query, key, value, visible, scaling, softcap, s_aux, position_bias)

    recorded = layer is not None and plan.records(layer)
    collector = Collector(x, plan) if recorded and plan.has_statistics else None
    special = softcap is not None or s_aux is not None
    graph = torch.is_grad_enabled() and (plan.grads or query.requires_grad or key.requires_grad or value.requires_grad)
    weights = None
    if exact or (graph and (special or not state.fused)) or (not state.fused and not special):
        options = {"softcap": softcap, "s_aux": s_aux, "position_bias": position_bias, "is_causal": is_causal}
        options = {name: option for name, option in options.items() if option is not None}
        out, weights = own_attention(module, query, key, value, attention_mask, causal, scaling=scaling,
                                     dropout=dropout, **options, **kwargs)  # fmt: skip
    elif graph or not (collector or special):
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
                                        is_causal=is_causal, position_bias=position_bias, **kwargs)  # fmt: skip
    else:  # the statistics need all rows anyway, so the output comes from the same blocks
        out = blocked_attention(x, collector, state.scratch)
        return _leave(state, layer, x, out, collector), None
    if collector is not None:
        collect(x, collector, state.scratch)
    return _leave(state, layer, x, out, collector), weights


def _leave(state: _State, layer: int | None, x: AttentionInputs, out: Output, collector: Collector | None) -> Output:
    """What is done once a layer's output is known: records, the start of a graph, edits; returns the edited output."""
    plan, record = state.plan, state.record
    if layer is None:
        return out
    record.calls[layer] += 1
    if collector is not None:
        collector.store(record, layer)
    if plan.grads and torch.is_grad_enabled() and not out.requires_grad:
        out = out.detach().requires_grad_(True)  # the graph starts here: parameters may stay frozen
    if plan.records(layer):
        _record_rows(x, out, plan, record, layer)
        if plan.norms:
            record.key_norms[layer], record.value_norms[layer] = vector_norms(x.key), vector_norms(x.value)
        if plan.capture:
            record.captures[layer] = replace(x, output=out, log_normaliser=kept_normaliser(x, out))
    return apply_edits(out, x, plan, layer)


def _record_rows(x: AttentionInputs, out: Output, plan: Plan, record: Record, layer: int) -> None:
    """Rows now; their gradients and the saliency sums when the backward pass reaches this layer.

    The hook must hold neither `out`, which holds the hook, nor the record, which may hold `out` as a capture: such a
    cycle would keep the whole graph in memory until a garbage collection.
    """
    rows: Tensor | None = None
    if plan.rows is not None:
        here = plan.rows.cpu() - x.offset
        here = here[(here >= 0) & (here < x.q_len)].to(x.query.device)
        if here.numel():
            rows = here
            record.rows[layer] = attention_rows(x, rows)
    if not (plan.grads and out.requires_grad) or (rows is None and not plan.flows):
        return
    kept, flows, block = weakref.ref(record), plan.flows, plan.block

    def hook(grad: Output) -> None:
        record = kept()
        if record is None:
            return
        if rows is not None:
            record.grads[layer] = attention_gradients(x, grad, rows)
        if flows:
            for name, value in flow_sums(x, grad, flows, block).items():
                record.flows[name][layer] = value

    out.register_hook(hook)


def _fast(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Mask, **options: Any
) -> tuple[Output, Tensor | None]:
    return _attention(False, module, query, key, value, attention_mask, **options)


def _exact(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Mask, **options: Any
) -> tuple[Output, Tensor | None]:
    return _attention(True, module, query, key, value, attention_mask, **options)


def _mask(**options: Any) -> Tensor | None:
    """transformers' mask function; where causality hides all padding, without the mask that it would read back."""
    if (state := _ACTIVE.get()) is not None and state.padded_right:
        options["attention_mask"] = None
    return sdpa_mask(**options)


AttentionInterface.register(FAST, _fast)
AttentionInterface.register(EXACT, _exact)
# Without these transformers hands attention_mask=None to a custom function: no causal mask, no padding mask.
AttentionMaskInterface.register(FAST, _mask)
AttentionMaskInterface.register(EXACT, eager_mask)


@contextlib.contextmanager
def implementation(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Inside the block the model uses the registered attention function `name`, behind it the one it had before."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        model.set_attn_implementation(before)


@contextlib.contextmanager
def attend(
    model: PreTrainedModel, plan: Plan | None = None, exact: bool = False, padded_right: bool = False
) -> Iterator[Record]:
    """Run the model's forwards inside the block under `plan`; yields the Record.

    exact: attention output by the model file's own eager function, bit-identical to `attn_implementation="eager"`
        (T x T memory); otherwise fused SDPA, or the block kernel where statistics are recorded or where SDPA cannot
        compute the family's attention (soft caps, learned sinks).
    padded_right: texts begin in the first column and padding stands behind them, so that causality hides it from every
        token of a text: a mask that is given (and must be, or transformers looks for texts side by side) is not looked
        at, but with `exact`. What is recorded of padding rows is meaningless; give them weight 0.
    Contexts do not nest on one model.  The former implementation comes back also after an exception.
    Raises AtlasError: no attention interface, training mode, at the end column sums that could not be renormalised.

        with torch.no_grad(), attend(model, Plan(diagonal=True), exact=True) as record:
            model(input_ids, attention_mask=mask, use_cache=False)
        record.diagonal[0]                      # (B, H, T) attention of each token on itself, first layer
    """
    require_interface(model)
    require_evaluation(model)
    if _ACTIVE.get() is not None:
        raise AtlasError("`attend` is active already; put everything into one Plan instead of nesting contexts.")
    plan = Plan() if plan is None else plan
    state = _State(plan, Record.for_plan(plan), is_fused(model), longest_text(model), padded_right)
    token = _ACTIVE.set(state)
    try:
        with numbered_layers(model), implementation(model, EXACT if exact else FAST):
            yield state.record
        state.record.check()
    finally:
        _ACTIVE.reset(token)
