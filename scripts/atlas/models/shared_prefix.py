"""Run many texts that begin alike: what they share once and without a graph, the rest of each in padded batches."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
)

from atlas.errors import AtlasError
from atlas.models import padding
from atlas.models.architectures import decoder_stack, input_device
from atlas.models.transfers import sent

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.cache_utils import CacheLayerMixin

    # (key, value) of each layer
    Shared = Sequence[tuple[Float[Tensor, "1 kv_heads prefix width"], Float[Tensor, "1 kv_heads prefix value_width"]]]


_KEYS_ONLY = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
# Layers with a window -> without one.
_UNLIMITED: dict[type, type] = {
    DynamicSlidingWindowLayer: DynamicLayer,
    LinearAttentionAndSlidingWindowAttentionLayer: LinearAttentionAndFullAttentionLayer,
}
# Models whose texts cannot go on from a shared start: at all, or with padding behind it. `self_check` has seen it.
_WHOLE: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
_UNPADDED: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
# Models whose answers follow no cache, or none under padding: with every token they are given their whole text again.
_AGAIN: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()


def shares(model: PreTrainedModel, *, padded: bool = False) -> bool:
    """Whether texts go on from the cache of their start; padded: with padding between the start and the rest."""
    return model not in (_UNPADDED if padded else _WHOLE)


def note_sharing(model: PreTrainedModel, works: bool, *, padded: bool = False) -> None:
    """Remember whether a start can be shared. Where it cannot, every text is run whole, which takes longer."""
    known = _UNPADDED if padded else _WHOLE
    if works:
        known.discard(model)
    else:
        known.add(model)


def remembers(model: PreTrainedModel) -> bool:
    """Whether generation goes on from a cache, with padding on the left."""
    return model not in _AGAIN


def note_memory(model: PreTrainedModel, works: bool) -> None:
    """Remember whether generation can go on from a cache. Where it cannot, answers take many times as long."""
    if works:
        _AGAIN.discard(model)
    else:
        _AGAIN.add(model)


@torch.no_grad()
def prefix_cache(model: PreTrainedModel, ids: Sequence[int]) -> Shared:
    """[(key, value)] by layer, each (1, KV, P, width), of the token ids that all texts begin with; [] of none."""
    if not ids:
        return []
    cache = empty_cache(model)
    if cache.layers:
        raise AtlasError("its layers keep more than keys and values, so that texts cannot share a start.")
    given = sent(torch.tensor([list(ids)]), input_device(model))
    decoder_stack(model)(input_ids=given, past_key_values=cache, use_cache=True)
    return [
        (cast("Tensor", layer.keys), cast("Tensor", layer.values))
        for layer in cast("list[CacheLayerMixin]", cache.layers)
    ]


class TextsCache(DynamicCache):
    """Keys and values of a batch of texts; `padded`: some of them stand behind padding, under a mask.

    transformers reads the mask of every step back to see whether it hides nothing, for which the host waits. Of a cache
    that can be compiled it does not ask, and takes the mask as it is.
    """

    padded = False

    @property
    def is_compileable(self) -> bool:
        """True where the mask hides something, so that there is nothing to ask."""
        return self.padded

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep these texts of the batch: rows (R,) on the CPU."""
        on: dict[torch.device, Tensor] = {}  # layers may lie on several GPUs
        for layer in cast("list[DynamicLayer]", self.layers):
            if isinstance(layer, LinearAttentionCacheLayerMixin):  # its state, and keys where it has them
                layer.reorder_cache(cast("torch.LongTensor", rows))
                continue
            device = cast("Tensor", layer.keys).device
            if device not in on:
                on[device] = sent(rows, device)
            layer.batch_select_indices(on[device])


def empty_cache(model: PreTrainedModel) -> TextsCache:
    """A cache for texts of `model`. Layers that keep keys keep those of all tokens, whatever their window.

    Where the configuration has layers of another kind (a recurrent state, an index of keys), they are made from it.
    """
    made = TextsCache(config=model.config.get_text_config(decoder=True))
    if all(type(layer) in _KEYS_ONLY for layer in made.layers):
        return TextsCache()  # without the model's configuration: sliding layers must keep all they have seen
    for index, layer in enumerate(made.layers):
        if type(layer) in _UNLIMITED:
            made.layers[index] = _UNLIMITED[type(layer)]()
    return made


def continued(shared: Shared, batch: int, model: PreTrainedModel) -> TextsCache:
    """A cache for `batch` texts that holds `shared` (from prefix_cache), which is not changed."""
    cache = empty_cache(model)
    for index, (key, value) in enumerate(shared):
        cache.update(key.expand(batch, -1, -1, -1), value.expand(batch, -1, -1, -1), index)
    return cache


def padded(model: PreTrainedModel, texts: Sequence[Sequence[int]], start: int) -> Int[Tensor, "texts tokens"]:
    """(B, longest - start) ids of each text from position `start` on, padded on the right on the model's device.

    No mask is needed: under causal attention nothing that is read depends on what comes later.
    """
    ids, _ = padding.padded([text[start:] for text in texts], "right")
    return sent(ids, input_device(model))
