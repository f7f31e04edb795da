"""Edited copies of one prompt in a batch of their own, and which layers have attention at all.

For families in which prompts cannot lie side by side (`packed`): a recurrent state or a convolution does not know where
one ends and the next begins.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..models.architectures import decoder_stack, input_device
from ..models.transfers import sent
from .interface import attend

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from .packed import Run
    from .plan import Plan

# Models that give other numbers for prompts side by side, as `self_check` has seen.
_APART: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()


def packable(model: PreTrainedModel) -> bool:
    """Whether prompts of `model` may lie side by side."""
    return model not in _APART


def note_packs(model: PreTrainedModel, works: bool) -> None:
    """Remember whether prompts may lie side by side. Where they may not, each is run whole, which takes longer."""
    if works:
        _APART.discard(model)
    else:
        _APART.add(model)


@contextlib.contextmanager
def alone(model: PreTrainedModel, prompt: Sequence[int]) -> Iterator[Run]:
    """Yields `run` as `packed` does, for one prompt: every row is the whole model, whatever layer it is to start at.

    Raises AtlasError as `attend` does.

        with alone(model, [5, 6, 7]) as run:
            states, logits = run(0, None, Plan(uniform={1: torch.eye(heads, dtype=torch.bool)}), heads)
    """
    ids = sent(torch.tensor([list(prompt)]), input_device(model))
    found: dict[str, Tensor] = {}

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        found["states"] = args[0]

    def run(layer: int, hidden: Tensor | None, plan: Plan, rows: int) -> tuple[Tensor, Tensor]:
        with attend(model, plan):
            logits = model(ids.expand(rows, -1), use_cache=False, logits_to_keep=1).logits
        return found.pop("states")[:, -1:], logits[:, -1:]

    with torch.no_grad(), model.get_output_embeddings().register_forward_pre_hook(note):
        yield run


@torch.no_grad()
def attention_layers(model: PreTrainedModel) -> list[int]:
    """The decoder layers that call the attention function, ascending. One forward of two tokens."""
    with attend(model) as record:
        decoder_stack(model)(input_ids=torch.ones(1, 2, dtype=torch.long, device=input_device(model)), use_cache=False)
    return sorted(record.calls)
