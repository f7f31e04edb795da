"""Run many texts that begin alike: what they share once and without a graph, the rest of each in padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from transformers import DynamicCache

from atlas.models import padding
from atlas.models.architectures import input_device

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.cache_utils import CacheLayerMixin

    # (key, value) of each layer
    Shared = Sequence[tuple[Float[Tensor, "1 kv_heads prefix width"], Float[Tensor, "1 kv_heads prefix value_width"]]]


@torch.no_grad()
def prefix_cache(model: PreTrainedModel, ids: Sequence[int]) -> Shared:
    """[(key, value)] by layer, each (1, KV, P, width), of the token ids that all texts begin with; [] of none."""
    if not ids:
        return []
    cache = DynamicCache()  # without the model's configuration: sliding layers must keep all they have seen
    given = torch.tensor([list(ids)], device=input_device(model))
    model.base_model(input_ids=given, past_key_values=cache, use_cache=True)
    return [
        (cast("Tensor", layer.keys), cast("Tensor", layer.values))
        for layer in cast("list[CacheLayerMixin]", cache.layers)
    ]


def continued(shared: Shared, batch: int) -> DynamicCache:
    """A cache for `batch` texts that holds `shared` (from prefix_cache), which is not changed."""
    cache = DynamicCache()
    for index, (key, value) in enumerate(shared):
        cache.update(key.expand(batch, -1, -1, -1), value.expand(batch, -1, -1, -1), index)
    return cache


def padded(model: PreTrainedModel, texts: Sequence[Sequence[int]], start: int) -> Int[Tensor, "texts tokens"]:
    """(B, longest - start) ids of each text from position `start` on, padded on the right on the model's device.

    No mask is needed: under causal attention nothing that is read depends on what comes later.
    """
    ids, _ = padding.padded([text[start:] for text in texts], "right")
    return ids.to(input_device(model))
