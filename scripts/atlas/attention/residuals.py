"""Read the residual stream, and run no layer above the one that is read.

Index l is the residual after l layers: 0 is what enters the first layer, the last one comes before the final norm.
"""

from __future__ import annotations

import contextlib

import torch

from ..errors import AtlasError
from ..models.architectures import after_attention
from .resume import _Skip, decoder_layers


@contextlib.contextmanager
def residuals(model, keep, pick=None):
    """Yields {index: (B, T, d)} of the indices in `keep` (0 to the number of layers), filled by the next forward.

    The tensors stay in the autograd graph if one is recorded.  pick: a function of (B, T, d), called where the residual
    is made, so that only what it returns is kept.
    """
    layers, store, handles = decoder_layers(model), {}, []
    for index in keep:
        if not 0 <= index <= len(layers):
            raise AtlasError(
                f"There is no residual {index}: the model's {len(layers)} layers leave 0 to {len(layers)}."
            )

    def add(index, hidden):
        store[index] = hidden if pick is None else pick(hidden)

    def entering(module, args, kwargs):
        add(0, args[0] if args else kwargs["hidden_states"])

    def leaving(index):
        def hook(module, args, output):
            add(index, output[0] if isinstance(output, tuple) else output)

        return hook

    try:
        if 0 in keep:
            handles.append(layers[0].register_forward_pre_hook(entering, with_kwargs=True))
        for index in set(keep) - {0}:
            handles.append(layers[index - 1].register_forward_hook(leaving(index)))
        yield store
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def lowest_layers(model, count: int):
    """Inside the block a forward runs `count` layers (at least 1); those above hand their input on."""
    layers = decoder_layers(model)
    if not 1 <= count <= len(layers):
        raise AtlasError(f"Cannot run {count} layers of a model that has {len(layers)}; give 1 to {len(layers)}.")
    kept = {str(index): layers[index] for index in range(count, len(layers))}
    skips = {index: _Skip(module, False) for index, module in kept.items()}

    def note(module, args, output):
        for skip in skips.values():  # some families' layers return a tuple
            skip.as_tuple = isinstance(output, tuple)

    handle = layers[count - 1].register_forward_hook(note)
    try:
        layers._modules.update(skips)
        yield
    finally:
        handle.remove()
        layers._modules.update(kept)


@contextlib.contextmanager
def read_in_layer(model, index, rows):
    """Inside the block what follows the attention of layer `index` runs for one token per text: rows (B,) positions.

    For what is read behind that layer at these tokens alone: at all others its output is meaningless. rows None:
    the first token, where nothing is read. Saves nothing where a family's MLP is not known to map each token by itself.
    """
    modules = after_attention(model, index)
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.forward = _narrowed(module.forward, rows)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:  # accelerate keeps its hooks there
                module.forward = own


def _narrowed(forward, rows):
    def narrowed(states):
        texts = torch.arange(len(states), device=states.device)
        at = torch.zeros_like(texts) if rows is None else rows.to(states.device)
        read = forward(states[texts, at][:, None])
        return read.new_zeros(*states.shape[:2], read.shape[-1]).index_put((texts, at), read[:, 0])

    return narrowed
