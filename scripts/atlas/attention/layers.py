"""Which decoder layer calls the attention function: the one whose forward runs, whatever its modules call themselves.

Families that share one attention block among layers give it no number, or the same one in all of them.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import AtlasError
from ..models.architectures import decoder_layers

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class _Running:
    """The number of the decoder layer whose forward runs; None outside all of them."""

    layer: int | None = None

    def enter(self, index: int) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            self.layer = index

        return hook

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.layer = None


_RUNNING: contextvars.ContextVar[_Running | None] = contextvars.ContextVar("atlas_running", default=None)


@contextlib.contextmanager
def numbered_layers(model: PreTrainedModel) -> Iterator[None]:
    """Inside the block `layer_of` knows which of the model's decoder layers runs.

    Where the family has no list of its layers, attention modules are believed (`layer_idx`).
    """
    try:
        layers = decoder_layers(model)
    except AtlasError:
        yield
        return
    running = _Running()
    token = _RUNNING.set(running)
    with contextlib.ExitStack() as hooks:
        for index, layer in enumerate(layers):
            hooks.enter_context(layer.register_forward_pre_hook(running.enter(index)))
            hooks.enter_context(layer.register_forward_hook(running.leave, always_call=True))
        try:
            yield
        finally:
            _RUNNING.reset(token)


def layer_of(module: nn.Module) -> int | None:
    """The number of the layer that attention `module` works for; None for attention outside the decoder's layers."""
    running = _RUNNING.get()
    return getattr(module, "layer_idx", None) if running is None else running.layer
