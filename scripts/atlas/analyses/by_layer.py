"""What the attention engine records by layer, as one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from atlas.errors import AtlasError
from atlas.models.architectures import decoder_layers
from atlas.models.finite import require_finite
from atlas.models.transfers import fetched

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.types import Ids


def stack_layers(
    by_layer: Mapping[int, Float[Tensor, "batch heads tokens"]], model: PreTrainedModel, prompts: Sequence[Ids]
) -> Float[Tensor, "batch layers heads tokens"]:
    """{layer: (B, H, T)} as (B, layers, H, T) fp32 on the CPU, in the order of the layers.

    prompts: the token ids that were run. NaN in layers without attention. Raises AtlasError, naming the layer, where a
    value is not finite.
    """
    return stacked_layers([by_layer], model, prompts)[0]


def stacked_layers(
    records: Sequence[Mapping[int, Float[Tensor, "batch heads tokens"]]],
    model: PreTrainedModel,
    prompts: Sequence[Ids],
) -> list[Float[Tensor, "batch layers heads tokens"]]:
    """`stack_layers` of several records of one forward, for which the host waits once."""
    depth = len(decoder_layers(model))
    for of in records:
        if not of:
            raise AtlasError(
                f"{type(model).__name__} ('{model.config.model_type}') has no attention in any layer; leave this model "
                "out of the analysis."
            )
    here = fetched([of[layer].float() for of in records for layer in sorted(of)])
    for value in here:
        require_finite(value, model, prompts, "the attention")
    parts = iter(here)
    found = []
    for of in records:
        by_layer = {layer: next(parts) for layer in sorted(of)}
        missing = torch.full_like(next(iter(by_layer.values())), torch.nan)
        found.append(torch.stack([by_layer.get(layer, missing) for layer in range(depth)], 1))
    return found
