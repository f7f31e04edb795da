"""What every head writes at the last token of a prompt, and what it would write if it saw the source token alone.

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.1. "Without context" puts all attention of the last token
on the source token and leaves what stands before as it is: the head's output is then the value of the source token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from atlas.analyses.head_categories.dynamic_metrics import CONTEXTS
from atlas.attention import Plan, attend
from atlas.data.tokens import common_prefix
from atlas.models.architectures import decoder_stack, input_device
from atlas.models.batches import Batches
from atlas.models.finite import require_finite
from atlas.models.shared_prefix import continued, prefix_cache, shares
from atlas.models.transfers import fetched, sent

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.head_categories.dynamic_prompts import Placed
    from atlas.models.shared_prefix import Shared

_ROWS = 128  # prompts of one batch when max_rows is left open


class HeadOutputs(NamedTuple):
    """Of N prompts, before the output projection: prompts, (N,) their numbers; by_layer, {layer: {context: (N, heads,
    value width)}} of the layers with attention, float32 on the CPU, float64 of a float64 model."""

    prompts: list[int]
    by_layer: dict[int, dict[str, Float[Tensor, "prompts heads value_width"]]]


@torch.no_grad()
def head_outputs(model: PreTrainedModel, prompts: Sequence[Placed], max_rows: int | None) -> Iterator[HeadOutputs]:
    """Outputs of the heads for batches of at most max_rows (None: 128) `prompts`, which begin alike.

    Prompts of one length run side by side, so that none is padded; what all begin with runs once.
    Raises AtlasError where an output is NaN or infinite.
    """
    start = min(common_prefix(prompts[0].ids, one.ids[:-1]) for one in prompts) if shares(model) else 0
    shared = prefix_cache(model, prompts[0].ids[:start]) if start else []
    lengths: dict[int, list[int]] = {}
    for number, one in enumerate(prompts):
        lengths.setdefault(len(one.ids), []).append(number)
    fitted, rows = Batches("max_rows", one="a prompt"), max_rows or _ROWS
    for numbers in lengths.values():
        for first in range(0, len(numbers), rows):
            yield from fitted.run(
                lambda some: HeadOutputs(list(some), _batch(model, [prompts[i] for i in some], start, shared)),
                numbers[first : first + rows],
            )


def _batch(
    model: PreTrainedModel, prompts: Sequence[Placed], start: int, shared: Shared
) -> dict[int, dict[str, Float[Tensor, "prompts heads value_width"]]]:
    """by_layer of HeadOutputs of prompts of one length, the first `start` tokens of which are in `shared`."""
    ids = sent(torch.tensor([one.ids[start:] for one in prompts]), input_device(model))
    cache = continued(shared, len(prompts), model) if start else None
    with attend(model, Plan(capture=True)) as record:
        decoder_stack(model)(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
    number, place = torch.arange(len(prompts)), torch.tensor([one.place for one in prompts])
    tensors: list[Tensor] = []
    for layer in sorted(record.captures):
        inputs = record.captures[layer]
        assert inputs.output is not None  # Plan.capture keeps it
        at = inputs.value.device
        value = inputs.value[sent(number, at), :, sent(place, at)]
        tensors += [inputs.output[:, -1], value.repeat_interleave(inputs.groups, 1)]
    here = fetched([x if x.dtype == torch.float64 else x.float() for x in tensors])
    for value in here:
        require_finite(value, model, [one.ids for one in prompts], "the output of attention heads")
    return {
        layer: dict(zip(CONTEXTS, here[2 * i : 2 * i + 2], strict=True))
        for i, layer in enumerate(sorted(record.captures))
    }
