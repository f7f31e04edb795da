"""Run many texts that begin alike: what they share once and without a graph, the rest of each in padded batches."""

import torch
from transformers import DynamicCache


@torch.no_grad()
def prefix_cache(model, ids):
    """[(key, value)] by layer, each (1, KV, P, width), of the token ids that all texts begin with; [] of none."""
    if not ids:
        return []
    cache = DynamicCache()  # without the model's configuration: sliding layers must keep all they have seen
    model.base_model(input_ids=_tensor(model, [ids]), past_key_values=cache, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


def continued(shared, batch):
    """A cache for `batch` texts that holds `shared` (from prefix_cache), which is not changed."""
    cache = DynamicCache()
    for index, (key, value) in enumerate(shared):
        cache.update(key.expand(batch, -1, -1, -1), value.expand(batch, -1, -1, -1), index)
    return cache


def padded(model, texts, start):
    """(B, longest - start) ids of each text from position `start` on, padded on the right on the model's device.

    No mask is needed: under causal attention nothing that is read depends on what comes later.
    """
    width = max(map(len, texts))
    return _tensor(model, [[*text[start:], *[0] * (width - len(text))] for text in texts])


def _tensor(model, rows):
    return torch.tensor(rows, dtype=torch.long, device=next(model.parameters()).device)
