"""Hidden states of answered questions at the position that the probe reads, all layers (the part that runs the model).

Index 0 is the embedding, index l the residual after l layers, the last one before the final norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.attention import decoder_layers, residuals
from atlas.errors import AtlasError
from atlas.models.architectures import decoder_stack
from atlas.models.batches import Batches
from atlas.models.shared_prefix import continued, padded, prefix_cache, shares
from atlas.models.transfers import fetched, sent
from atlas.results.shards import batches, merge_samples, shard_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.saliency.answered_samples import AnsweredSample
    from atlas.analyses.types import Ids, KeysAndValues, Progress


def extract(
    model: PreTrainedModel,
    samples: Sequence[AnsweredSample],
    prefix: Ids,
    *,
    batch_tokens: int,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """{number (S,), states (S, layers + 1, d) fp32} of one shard of `samples`, by number.

    prefix: the ids that all samples begin with; the state is that of each sample's last token.
    """
    prefix = prefix if shares(model) else ()
    lengths = [len(sample.ids) - len(prefix) for sample in samples]
    groups = shard_of(batches(lengths, batch_tokens), shard, shards)
    config, depth = model.config.get_text_config(), len(decoder_layers(model))
    shared = prefix_cache(model, prefix)
    none = {"number": np.zeros(0, np.int32), "states": np.zeros((0, depth + 1, config.hidden_size), np.float32)}
    fitted, parts = Batches("batch_tokens"), [none]
    for group in progress(groups):
        parts += fitted.run(lambda some: _batch(model, shared, some, len(prefix), depth), [samples[i] for i in group])
    return merge_samples(parts, "number")


@torch.no_grad()
def _batch(
    model: PreTrainedModel, shared: KeysAndValues, samples: Sequence[AnsweredSample], start: int, depth: int
) -> dict[str, np.ndarray]:
    ids = padded(model, [sample.ids for sample in samples], start)
    last = sent(torch.tensor([len(sample.ids) - 1 - start for sample in samples]), ids.device)
    texts = torch.arange(len(last), device=ids.device)

    def pick(hidden: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
        return hidden[texts.to(hidden.device), last.to(hidden.device)].float()

    with residuals(model, range(depth + 1), pick) as found:
        cache = continued(shared, len(samples), model) if shares(model) else None
        decoder_stack(model)(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
    states = torch.stack(fetched([found[index] for index in range(depth + 1)]), 1)
    if not bool(torch.isfinite(states).all()):
        raise AtlasError("the hidden states contain NaN or infinite values; check the model's weights and dtype.")
    return {"number": np.array([sample.number for sample in samples], np.int32), "states": states.numpy()}
