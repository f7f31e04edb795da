"""Run a decoder from the middle: skip the layers below one whose input is known.

The model's own forward still builds masks, position embeddings, the final norm and the logits, so nothing here knows
an architecture.  Run `self_check` once per model before relying on it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import AtlasError
from ..models.architectures import decoder_layers
from ..models.hooks import layer_input

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

# Models whose layers return a tuple, as `self_check` has seen; most layers return a tensor in transformers 5.
_RETURNS_TUPLE: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def note_layer_output(model: PreTrainedModel, output: object) -> None:
    """Remember whether the layers of `model` return a tuple, as `output` of one of them is."""
    if isinstance(output, tuple):
        _RETURNS_TUPLE.add(model)
    else:
        _RETURNS_TUPLE.discard(model)


def layers_return_tuple(model: PreTrainedModel) -> bool:
    """Whether a layer of `model` was seen to return a tuple."""
    return model in _RETURNS_TUPLE


@contextlib.contextmanager
def layer_inputs(
    model: PreTrainedModel, keep: Collection[int]
) -> Iterator[dict[int, Float[Tensor, "batch tokens width"]]]:
    """Record the hidden states (B, T, d) that enter each layer in `keep`; yields {layer: tensor}, detached."""
    store: dict[int, Tensor] = {}

    def recorder(index: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def pre(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            store[index] = layer_input(args, kwargs).detach()

        return pre

    with contextlib.ExitStack() as hooks:
        for index, layer in enumerate(decoder_layers(model)):
            if index in keep:
                hooks.enter_context(layer.register_forward_pre_hook(recorder(index), with_kwargs=True))
        yield store


class Skip(nn.Module):
    """Stands in for a decoder layer that need not run: hands its input on."""

    inner: nn.Module

    def __init__(self, inner: nn.Module, as_tuple: bool) -> None:
        super().__init__()
        object.__setattr__(self, "inner", inner)  # not a submodule: hooks and device moves must not see it
        self.as_tuple = as_tuple

    def __getattr__(self, name: str) -> Any:  # attention_type, layer_type and the like, which a model's loop may read
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(object.__getattribute__(self, "inner"), name)

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Any, ...]:
        """The hidden states as they came, in a tuple where the family's layers return one."""
        return (hidden_states,) if self.as_tuple else hidden_states


@contextlib.contextmanager
def resume_from(model: PreTrainedModel, layer: int, hidden: Float[Tensor, "batch tokens width"]) -> Iterator[None]:
    """Inside the block the model's forward starts at `layer` (0-based) with `hidden` (B, T, d) as that layer's input.

    Call the model with input_ids of the same (B, T) and the same attention mask, and `use_cache=False`; the ids'
    embedding is computed and thrown away. Raises AtlasError where the model has no such layer.

        with layer_inputs(model, {1}) as hidden:
            whole = model(input_ids, attention_mask=mask, use_cache=False).logits
        with resume_from(model, 1, hidden[1]):
            again = model(input_ids, attention_mask=mask, use_cache=False).logits    # equal to `whole`
    """
    layers = decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise AtlasError(f"Cannot resume from layer {layer}: the model has layers 0 to {len(layers) - 1}.")
    as_tuple = layers_return_tuple(model)

    def replace(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    kept = {str(index): layers._modules[str(index)] for index in range(layer)}
    with layers[layer].register_forward_pre_hook(replace, with_kwargs=True):
        try:
            layers._modules.update({index: Skip(layers[int(index)], as_tuple) for index in kept})
            yield
        finally:
            layers._modules.update(kept)
