"""Read the residual stream, and run no layer above the one that is read.

Index l is the residual after l layers: 0 is what enters the first layer, the last one comes before the final norm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from ..errors import AtlasError
from ..models.architectures import after_attention, decoder_layers
from ..models.hooks import layer_input, layer_output
from .resume import Skip

if TYPE_CHECKING:
    from collections.abc import Collection

    from jaxtyping import Float, Int
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    States = Float[Tensor, "batch tokens width"]


@contextlib.contextmanager
def residuals(
    model: PreTrainedModel, keep: Collection[int], pick: Callable[[States], Tensor] | None = None
) -> Iterator[dict[int, Tensor]]:
    """Yields {index: (B, T, d)} of the indices in `keep` (0 to the number of layers), filled by the next forward.

    The tensors stay in the autograd graph if one is recorded.  pick: a function of (B, T, d), called where the residual
    is made, so that only what it returns is kept. Raises AtlasError for an index that the model has not.

        with torch.no_grad(), residuals(model, {0, 2}, lambda states: states[:, -1]) as found:
            model(input_ids, attention_mask=mask, use_cache=False)
        found[2]                                # (B, d) of the last token, after two layers
    """
    layers = decoder_layers(model)
    store: dict[int, Tensor] = {}
    for index in keep:
        if not 0 <= index <= len(layers):
            raise AtlasError(
                f"There is no residual {index}: the model's {len(layers)} layers leave 0 to {len(layers)}."
            )

    def add(index: int, hidden: States) -> None:
        store[index] = hidden if pick is None else pick(hidden)

    def entering(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        add(0, layer_input(args, kwargs))

    def leaving(index: int) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            add(index, layer_output(output))

        return hook

    with contextlib.ExitStack() as hooks:
        if 0 in keep:
            hooks.enter_context(layers[0].register_forward_pre_hook(entering, with_kwargs=True))
        for index in set(keep) - {0}:
            hooks.enter_context(layers[index - 1].register_forward_hook(leaving(index)))
        yield store


@contextlib.contextmanager
def lowest_layers(model: PreTrainedModel, count: int) -> Iterator[None]:
    """Inside the block a forward runs `count` layers; those above hand their input on.

    Raises AtlasError for fewer than 1 and for more than the model has.
    """
    layers = decoder_layers(model)
    if not 1 <= count <= len(layers):
        raise AtlasError(f"Cannot run {count} layers of a model that has {len(layers)}; give 1 to {len(layers)}.")
    kept = {str(index): layers[index] for index in range(count, len(layers))}
    skips = {index: Skip(module, False) for index, module in kept.items()}

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        for skip in skips.values():  # some families' layers return a tuple
            skip.as_tuple = isinstance(output, tuple)

    with layers[count - 1].register_forward_hook(note):
        try:
            layers._modules.update(skips)
            yield
        finally:
            layers._modules.update(kept)


@contextlib.contextmanager
def read_in_layer(model: PreTrainedModel, index: int, rows: Int[Tensor, " batch"] | None) -> Iterator[None]:
    """Inside the block what follows the attention of layer `index` runs for one token per text: rows (B,) positions.

    For what is read behind that layer at these tokens alone: at all others its output is meaningless. rows None:
    the first token, where nothing is read. Saves nothing where a family's MLP is not known to map each token by itself.
    """
    modules = after_attention(model, index)
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.__dict__["forward"] = _narrowed(module.forward, rows)
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if own is not None:  # accelerate keeps its hooks there
                module.__dict__["forward"] = own


def _narrowed(forward: Callable[[States], States], rows: Int[Tensor, " batch"] | None) -> Callable[[States], States]:
    def narrowed(states: States) -> States:
        texts = torch.arange(len(states), device=states.device)
        at = torch.zeros_like(texts) if rows is None else rows.to(states.device)
        read = forward(states[texts, at][:, None])
        return read.new_zeros(*states.shape[:2], read.shape[-1]).index_put((texts, at), read[:, 0])

    return narrowed
