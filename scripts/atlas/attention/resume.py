"""Run a decoder from the middle: skip the layers below one whose input is known.

The model's own forward still builds masks, position embeddings, the final norm and the logits, so nothing here knows
an architecture.  Run `self_check` once per model before relying on it.
"""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from ..errors import AtlasError
from .interface import attend, require_interface
from .plan import Plan


def decoder_layers(model) -> nn.ModuleList:
    """The decoder's list of layers: the outermost ModuleList that is as long as the config says the decoder is deep."""
    depth = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise AtlasError(
        f"No list of {depth} decoder layers in {type(model).__name__}; choose a decoder-only model of another family."
    )


@contextlib.contextmanager
def layer_inputs(model, keep):
    """Record the hidden states (B, T, d) that enter each layer in `keep`; yields {layer: tensor}, detached."""
    store, handles = {}, []

    def recorder(index):
        def pre(module, args, kwargs):
            store[index] = (args[0] if args else kwargs["hidden_states"]).detach()

        return pre

    try:
        for index, layer in enumerate(decoder_layers(model)):
            if index in keep:
                handles.append(layer.register_forward_pre_hook(recorder(index), with_kwargs=True))
        yield store
    finally:
        for handle in handles:
            handle.remove()


class _Skip(nn.Module):
    """Stands in for a decoder layer that need not run: hands its input on."""

    def __init__(self, inner, as_tuple):
        super().__init__()
        object.__setattr__(self, "inner", inner)  # not a submodule: hooks and device moves must not see it
        self.as_tuple = as_tuple

    def __getattr__(self, name):  # attention_type, layer_type and the like, which a model's loop may read
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "inner"), name)

    def forward(self, hidden_states, *args, **kwargs):
        return (hidden_states,) if self.as_tuple else hidden_states


@contextlib.contextmanager
def resume_from(model, layer: int, hidden: torch.Tensor):
    """Inside the block the model's forward starts at `layer` (0-based) with `hidden` (B, T, d) as that layer's input.

    Call the model with input_ids of the same (B, T) and the same attention mask, and `use_cache=False`; the ids'
    embedding is computed and thrown away.
    """
    layers = decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise AtlasError(f"Cannot resume from layer {layer}: the model has layers 0 to {len(layers) - 1}.")
    as_tuple = getattr(model, "_atlas_layer_returns_tuple", False)  # most layers return a tensor in transformers 5

    def replace(module, args, kwargs):
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    kept = {str(index): layers._modules[str(index)] for index in range(layer)}
    handle = layers[layer].register_forward_pre_hook(replace, with_kwargs=True)
    try:
        for index, module in kept.items():
            layers._modules[index] = _Skip(module, as_tuple)
        yield
    finally:
        handle.remove()
        layers._modules.update(kept)


def _difference(a, b) -> float:
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30))


@torch.no_grad()
def self_check(model, tokens: int = 12, resume: bool = True) -> None:
    """Compare `attend` and resuming with the stock model on random ids; AtlasError if they differ.

    Logits must agree with the model's own implementation to 1e-4 of their largest magnitude (0.1 in half precision,
    where kernels round differently), every attention layer must be seen, and resuming must change nothing (1e-5).
    Three forwards of 2 x `tokens`, one more with `resume`.  Call it once after loading.
    """
    require_interface(model)
    layers = decoder_layers(model)
    name = f"{type(model).__name__} ('{model.config.model_type}')"
    embedding = model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    vocabulary = embedding.num_embeddings
    ids = torch.randint(min(3, vocabulary - 1), vocabulary, (2, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, : tokens // 3] = 0
    ids, mask = ids.to(embedding.weight.device), mask.to(embedding.weight.device)
    kind = {}

    def note(module, args, output):
        kind["tuple"] = isinstance(output, tuple)

    def run():
        return model(ids, attention_mask=mask, use_cache=False).logits[mask.bool().to(model.device)]

    handle = layers[0].register_forward_hook(note)
    try:
        expected = run()
    finally:
        handle.remove()
    model._atlas_layer_returns_tuple = kind.get("tuple", False)
    half = next(model.parameters()).dtype in (torch.float16, torch.bfloat16)
    tolerance = 0.1 if half else 1e-4
    middle = len(layers) // 2
    with attend(model, Plan(diagonal=True)) as record:
        blocked = run()
    if not record.diagonal:
        raise AtlasError(f"{name}: the attention function saw no layer; choose a model of another family.")
    with attend(model), layer_inputs(model, {middle}) as hidden:
        fused = run()
    for what, logits in (("block-wise", blocked), ("fused", fused)):
        worst = _difference(logits, expected)
        if not worst <= tolerance:
            raise AtlasError(
                f"{name}: logits with {what} attention differ from the model's own by {worst:.1e} of their largest "
                "value, so its attention would be misread; choose a model of another family or report the model type."
            )
    if not resume:
        return
    with attend(model), resume_from(model, middle, hidden[middle]):
        worst = _difference(run(), fused)
    if not worst <= 1e-5:
        raise AtlasError(
            f"{name}: resuming at layer {middle} changes the logits by {worst:.1e} of their largest value, so head "
            "ablation cannot skip layers; choose a model of another family or report the model type."
        )
