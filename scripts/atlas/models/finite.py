"""NaN and infinite activations: noticed where results come out, and traced back to the layer they arise in.

Weights are checked when they are loaded; activations can still overflow (float16, or weights that are large together).
Checking every layer of every pass would cost time for what hardly ever happens, so only what comes out is checked, and
the layer is looked for afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from atlas.errors import AtlasError
from atlas.models.architectures import decoder_layers, input_device, input_embedding
from atlas.models.hooks import layer_output

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def require_finite(states: Tensor, model: PreTrainedModel, prompts: Iterable[Sequence[int]], what: str) -> None:
    """Raises AtlasError, naming the layer, unless every entry of `states` is a finite number.

    states: any tensor that a pass over `prompts` (token id sequences) gave. what: how the message names it.
    """
    if not bool(torch.isfinite(states).all()):
        raise not_finite(model, prompts, what)


def not_finite(model: PreTrainedModel, prompts: Iterable[Sequence[int]], what: str) -> AtlasError:
    """The AtlasError for NaN or infinite values in `what`: each prompt is run alone until one shows the layer."""
    where = next((found for prompt in prompts if (found := first_layer(model, prompt)) is not None), "an unknown place")
    return AtlasError(
        f"{where}: {what} contains NaN or infinite values; check the model's weights, or choose a wider dtype."
    )


@torch.no_grad()
def first_layer(model: PreTrainedModel, prompt: Sequence[int]) -> str | None:
    """Where NaN or infinite values first appear on the way of one prompt: "layer 3", "the embeddings", or None."""
    ids = torch.tensor([list(prompt)], device=input_device(model))
    if not bool(torch.isfinite(input_embedding(model)(ids)).all()):
        return "the embeddings"
    bad: list[int] = []

    def note(index: int) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not bool(torch.isfinite(layer_output(output)).all()):
                bad.append(index)

        return hook

    with contextlib.ExitStack() as hooks:
        for index, layer in enumerate(decoder_layers(model)):
            hooks.enter_context(layer.register_forward_hook(note(index)))
        logits = model(ids, use_cache=False, logits_to_keep=1).logits
    if bad:
        return f"layer {min(bad)}"
    return None if bool(torch.isfinite(logits).all()) else "the logits"
