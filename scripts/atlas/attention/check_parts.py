"""What a model is checked for: each part runs the texts in one way of the analyses, beside the stock model."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from ..errors import AtlasError
from ..models.architectures import decoder_layers, decoder_stack
from ..models.generation import Prompt, left_padded, next_logits, shared_states, whole_logits
from ..models.shared_prefix import continued, padded, prefix_cache, remembers, shares
from .apart import alone
from .check_texts import ALIKE, TOKENS, Texts, difference, refuse
from .interface import attend, implementation, own_eager
from .layers import layer_of, numbered_layers
from .masks import only_chosen
from .packed import packed
from .packs import Pack
from .plan import ColumnSum, Flow, Plan
from .requirements import nothing_seen
from .residuals import residuals
from .resume import layer_inputs
from .saliency import flow_sums

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn
    from transformers import PreTrainedModel

# Sums of attention per row, and gradients, by their largest value: in float32, in half precision.
_SUMS, _GRADIENTS = (1e-3, 0.02), (1e-3, 0.2)
_OF_AN_ENCODER = ("encoder_attn", "crossattention")  # what attention to an encoder's states is called
_SAME = (1e-4, 0.02)  # logits by the same eager function: what a GPU adds up in another order


def causal(model: PreTrainedModel, texts: Texts) -> None:
    """Raises AtlasError for what is no decoder by itself.

    What follows a token must not change what is said of it (the texts begin alike), and no encoder may be missing.
    """
    if any(name.endswith(_OF_AN_ENCODER) for name, _ in model.named_modules()):
        raise AtlasError(
            "it is the decoder of an encoder-decoder model, and what it reads there is missing; give a decoder "
            "language model."
        )
    worst = difference(texts.logits[0, :ALIKE], texts.logits[1, :ALIKE])
    if not worst <= texts.tolerance:
        raise AtlasError(
            "its tokens see what follows them (an encoder, or attention over the whole of a text's start), so it is no "
            "decoder; give a decoder language model."
        )


def attention(model: PreTrainedModel, texts: Texts, gradients: bool) -> None:
    """Logits and sums of attention under the engine's functions, and the gradients of a loss by attention."""
    plan = Plan(column_sums={"all": ColumnSum()})
    with torch.no_grad():
        with attend(model, plan, exact=True) as record:
            exact = model(input_ids=texts.ids, use_cache=False).logits
        sums = [record.column_sums["all"]]
        with attend(model, plan) as record:
            blocks = model(input_ids=texts.ids, use_cache=False).logits
        sums.append(record.column_sums["all"])
    twice = [layer for layer, calls in record.calls.items() if calls > 1]
    if twice:
        raise AtlasError(
            f"layer {min(twice)} calls the attention function {record.calls[min(twice)]} times, so it has no single "
            "attention; leave this model out of the analysis."
        )
    if not sums[0]:
        raise nothing_seen(model)
    weights, eager, grads = _stock_attention(model, texts, sorted(sums[0]), gradients)
    same("logits under its own eager attention, called by the engine,", exact, eager, _SAME[texts.half])
    same("logits under the engine's attention", blocks, texts.logits, texts.tolerance)
    # Of the second pass, whose states round differently, a layer's sums may be somewhat further off.
    for columns, tolerance in zip(sums, (_SUMS[texts.half], 10 * _SUMS[texts.half] + texts.noise), strict=True):
        for layer, expected in weights.items():
            same(f"the sums of attention in layer {layer}", columns[layer], expected.sum(-2), tolerance)
    if gradients:
        _gradients(model, texts, grads)


def same(what: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Raises AtlasError where `what` differs."""
    worst = difference(found, expected)
    if not worst <= tolerance:
        raise refuse(what, worst)


def _stock_attention(
    model: PreTrainedModel, texts: Texts, layers: list[int], gradients: bool
) -> tuple[dict[int, Float[Tensor, "2 heads tokens tokens"]], Float[Tensor, "2 tokens vocabulary"], dict[int, Tensor]]:
    """Of the family's own eager code {layer: weights}, logits, and {layer: sum of |A dLoss/dA| over pairs (2, H)}."""

    def graph(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        return out.detach().requires_grad_(True).clone() if gradients else out  # a leaf forbids edits in place

    with implementation(model, "eager"), torch.set_grad_enabled(gradients):
        start = model.get_input_embeddings().register_forward_hook(graph)
        try:
            out = model(input_ids=texts.ids, use_cache=False, output_attentions=True)
        finally:
            start.remove()
        weights = _by_layer(list(out.attentions or ()), layers, len(decoder_layers(model)))
        grads = {}
        if gradients:
            found = torch.autograd.grad(_loss(out.logits), list(weights.values()), allow_unused=True)
            for (layer, one), grad in zip(weights.items(), found, strict=True):
                if grad is not None:  # with several devices some weights are handed out as copies, apart from the graph
                    grads[layer] = (one * grad).detach().tril(-1).abs().sum((-1, -2))
    return {layer: one.detach() for layer, one in weights.items()}, out.logits.detach(), grads


def _by_layer(found: list[Tensor | None], layers: list[int], depth: int) -> dict[int, Tensor]:
    """{layer: weights} of a model's `attentions`; layers: those in which the engine saw attention, of `depth`."""
    if len(found) == len(layers):
        by_layer = dict(zip(layers, found, strict=True))
    elif len(found) == depth:
        by_layer = {layer: one for layer, one in enumerate(found) if one is not None and one.shape[-2] == TOKENS}
    else:
        by_layer = {}
    if sorted(by_layer) != layers or any(one is None for one in by_layer.values()):
        raise AtlasError(
            f"its eager code gives attention {len(found)} times where {len(layers)} of {depth} layers call the "
            "attention function, so it cannot be told apart; leave this model out of the analysis."
        )
    return cast("dict[int, Tensor]", by_layer)


def _loss(logits: Float[Tensor, "2 tokens vocabulary"]) -> Float[Tensor, ""]:
    return logits[:, -1].float().log_softmax(-1)[:, 7].sum()


def _gradients(model: PreTrainedModel, texts: Texts, expected: dict[int, Float[Tensor, "2 heads"]]) -> None:
    every = torch.ones(TOKENS, dtype=torch.bool)
    flows, tolerance = {"all": Flow(every, every, min_distance=1)}, max(_GRADIENTS[texts.half], 3 * texts.noise)
    with attend(model, Plan(grads=True, capture=True), padded_right=True) as record, torch.enable_grad():
        mask = torch.ones_like(texts.ids)
        loss = _loss(model(input_ids=texts.ids, attention_mask=mask, use_cache=False).logits)
        outputs = [cast("Tensor", record.captures[layer].output) for layer in expected]
        grads = torch.autograd.grad(loss, outputs, allow_unused=True)
    for (layer, wanted), grad in zip(expected.items(), grads, strict=True):
        if grad is not None:
            found = flow_sums(record.captures[layer], grad, flows, block=TOKENS)["all"].absolute
            same(f"gradients by attention in layer {layer}", found, wanted, tolerance)
        elif bool(wanted.any()):
            raise AtlasError(f"no gradient reached the attention of layer {layer}; leave this model out.")


# (layer, head) whose query is 0 in the family's own eager function, so that it looks at all keys alike.
_LEVELLED: contextvars.ContextVar[tuple[int, int] | None] = contextvars.ContextVar("atlas_levelled", default=None)
_STOCK = "atlas_stock"


def _stock(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    edit = _LEVELLED.get()
    if edit is not None and layer_of(module) == edit[0]:
        query = query.clone()
        query[:, edit[1]] = 0
    if (indices := options.pop("indices", None)) is not None:
        attention_mask = only_chosen(attention_mask, indices, key.shape[2])
    return own_eager(module)(module, query, key, value, attention_mask, **options)


AttentionInterface.register(_STOCK, _stock)
AttentionMaskInterface.register(_STOCK, eager_mask)


@contextlib.contextmanager
def _levelled(model: PreTrainedModel, layer: int, head: int) -> Iterator[None]:
    token = _LEVELLED.set((layer, head))
    try:
        with numbered_layers(model), implementation(model, _STOCK):
            yield
    finally:
        _LEVELLED.reset(token)


class Edited(NamedTuple):
    """An ablated head: its layer and place, the plan, the stock logits (2, T, V), what entered the first layer."""

    layer: int
    what: str
    plan: Plan
    logits: Float[Tensor, "2 tokens vocabulary"]
    entering: Tensor


@torch.no_grad()
def heads(model: PreTrainedModel, texts: Texts) -> Edited:
    """One head that looks at all alike, in texts run whole."""
    with attend(model, Plan(diagonal=True)) as record, layer_inputs(model, {0}) as entering:
        model(input_ids=texts.ids, use_cache=False)
    seen = sorted(record.diagonal)
    layer = seen[len(seen) // 2]
    count = record.diagonal[layer].shape[1]
    head = count // 2
    with _levelled(model, layer, head):
        expected = model(input_ids=texts.ids, use_cache=False).logits
    where = torch.zeros(1, count, dtype=torch.bool)
    where[0, head] = True
    plan = Plan(uniform={layer: where})
    with attend(model, plan):
        whole = model(input_ids=texts.ids, use_cache=False).logits
    what = f"logits with head {head} of layer {layer} ablated"
    same(what, whole, expected, texts.tolerance)
    return Edited(layer, what, plan, expected, entering[0])


@torch.no_grad()
def side_by_side(model: PreTrainedModel, texts: Texts, edit: Edited) -> None:
    """The same in packed texts, resumed at the head's layer."""
    pack = Pack(texts.prompts)
    hidden = edit.entering.new_zeros(1, len(pack.ids), edit.entering.shape[-1])
    for row, path in enumerate(pack.paths):
        hidden[0, path] = edit.entering[row, : len(path)]
    with packed(model, pack) as run, layer_inputs(model, {edit.layer}) as inputs:
        _, clean = run(0, hidden, Plan(), 1)
        _, edited = run(edit.layer, inputs[edit.layer], edit.plan, 1)
    for of, found, wanted in (("logits", clean, texts.logits), (edit.what, edited, edit.logits)):
        ends = torch.stack([wanted[row, len(text) - 1] for row, text in enumerate(texts.prompts)])
        same(f"{of} of texts side by side", found[0], ends, texts.tolerance)


@torch.no_grad()
def one_by_one(model: PreTrainedModel, texts: Texts, edit: Edited) -> None:
    """The same in copies of one text, of which the second has the head ablated."""
    (layer, where), *_ = edit.plan.uniform.items()
    plan = Plan(uniform={layer: torch.cat([~where & where, where])})
    for row, text in enumerate(texts.prompts):
        with alone(model, text) as run:
            _, found = run(layer, None, plan, 2)
        wanted = torch.stack([of[row, len(text) - 1] for of in (texts.logits, edit.logits)])
        same(f"{edit.what} in copies of one text", found[:, 0], wanted, texts.tolerance)


@torch.no_grad()
def start(model: PreTrainedModel, texts: Texts, states: bool) -> None:
    """Last states, and with `states` the residual between layers, of texts that go on from the cache of their start."""
    done = ALIKE - 2 if shares(model) else 0
    shared = prefix_cache(model, texts.prompts[0][:done])
    rest = padded(model, texts.prompts, done)
    depth, found = len(decoder_layers(model)) if states else 0, {}
    with contextlib.ExitStack() as watching:
        if states:
            found = watching.enter_context(residuals(model, range(depth + 1)))
        cache = continued(shared, len(rest), model) if done else None
        last = decoder_stack(model)(input_ids=rest, past_key_values=cache, use_cache=done > 0).last_hidden_state
    what = "last states behind a shared start" if done else "last states of texts padded on the right"
    for row, text in enumerate(texts.prompts):
        same(what, last[row, : len(text) - done], texts.last[row, done : len(text)], texts.tolerance)
    if not states:
        return
    width = model.config.get_text_config().hidden_size
    if any(state.shape != (*rest.shape, width) for state in found.values()):
        raise AtlasError(
            f"its layers hand on states of shape {tuple(found[depth].shape)} and no single residual of width {width}; "
            "leave this model out of the analysis."
        )
    listed = (texts.hidden or ())[:depth]
    # Most families list what enters each layer; Mamba's what leaves it.
    left = bool(listed) and difference(found[0][0], listed[0][0, done:]) > texts.tolerance
    left = left and all(
        difference(found[layer + 1][0], one[0, done:]) <= texts.tolerance for layer, one in enumerate(listed)
    )
    for layer, wanted in enumerate(() if left else listed):
        same(f"states before layer {layer}", found[layer][0], wanted[0, done:], texts.tolerance)


@torch.no_grad()
def answers(model: PreTrainedModel, texts: Texts) -> None:
    """The logits of two steps of generation: of the prompts, one padded on the left, and of one more token each."""
    given = [text[:-1] for text in texts.prompts]
    if not remembers(model):
        for step, whole in enumerate((given, texts.prompts)):
            wanted = torch.stack([texts.logits[row, len(text) - 1] for row, text in enumerate(whole)])
            found = whole_logits(model, whole)
            same(f"logits of step {step + 1} of generation without a cache", found, wanted, texts.tolerance)
        return
    prompts = [Prompt(row, tuple(text), 1) for row, text in enumerate(given)]
    cached = shared_states(model, prompts, ALIKE - 2)
    tokens, mask = left_padded(prompts, cached[0][0].shape[2] if cached else 0)
    tokens, mask = tokens.to(texts.ids.device), mask.to(texts.ids.device)
    cache = continued(cached, len(prompts), model)
    for step in range(2):
        found = next_logits(model, tokens, mask, cache, padding=True)
        wanted = torch.stack([texts.logits[row, len(text) - 1 + step] for row, text in enumerate(given)])
        same(f"logits of step {step + 1} of generation", found, wanted, texts.tolerance)
        tokens = torch.tensor([[text[-1]] for text in texts.prompts]).to(texts.ids.device)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
