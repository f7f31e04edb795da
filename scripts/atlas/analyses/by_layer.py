"""What the attention engine records by layer, as one tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from atlas.models.finite import require_finite

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.types import Ids


def stack_layers(
    by_layer: Mapping[int, Float[Tensor, "batch heads tokens"]], model: PreTrainedModel, prompts: Sequence[Ids]
) -> Float[Tensor, "batch layers heads tokens"]:
    """{layer: (B, H, T)} as (B, layers, H, T) fp32 on the CPU, in the order of the layers.

    prompts: the token ids that were run. Raises AtlasError, naming the layer, where a value is not finite.
    """
    for value in by_layer.values():
        require_finite(value, model, prompts, "the attention")
    return torch.stack([by_layer[layer].float().cpu() for layer in sorted(by_layer)], 1)
