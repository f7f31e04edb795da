"""Attention on the previous token, on the same token and behind it, in random sequences that stand twice.

Source: Olsson et al. 2022, arXiv 2209.11895 (induction heads); duplicate-token heads: Wang et al. 2023, arXiv
2211.00593. With a beginning of b ids and a part of n different tokens at b .. b + n - 1 and again at b + n ..
b + 2n - 1, each score is the mean over the rows i of the second copy of

    previous_token   A[i, i - 1]
    duplicate_token  A[i, i - n]        the same token in the first copy
    induction        A[i, i - n + 1]    the token behind that, which is the next one
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.beginnings import drawable
from atlas.analyses.by_layer import stacked_layers
from atlas.analyses.head_types.scores import TYPES, distance
from atlas.attention import Plan, Stripe, attend
from atlas.data.tokens import encode
from atlas.errors import AtlasError
from atlas.models.architectures import decoder_stack, input_device
from atlas.models.batches import Batches
from atlas.models.transfers import sent
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from atlas.analyses.types import Progress
    from atlas.models.limits import Limits


def pool(
    tokenizer: PreTrainedTokenizerBase, limits: Limits, texts: Iterable[str] | None = None
) -> Int[np.ndarray, " ids"]:
    """The ids that sequences are drawn from, in order: of the vocabulary, or with `texts` those that occur in them."""
    known = drawable(tokenizer, limits)
    if texts is None:
        return known
    seen = {token for text in texts for token in encode(tokenizer, text, special=False)}
    return known[np.isin(known, np.array(sorted(seen), np.int64))]


def repeated_sequences(
    known: Int[np.ndarray, " ids"], *, length: int, number: int, start: Sequence[int], seed: int, limits: Limits
) -> Int[np.ndarray, "number tokens"]:
    """(number, len(start) + 2 * length) int64: `start`, then `length` different ids of `known`, and these once more.

    A sequence depends on `seed` and its own number alone. Raises AtlasError where `known` holds too few ids or the
    sequence is longer than the model takes.
    """
    tokens = len(start) + 2 * length
    if limits.tokens is not None and tokens > limits.tokens:
        raise AtlasError(
            f"analyses.head_types.length is {length}, which makes sequences of {tokens} tokens, but "
            f"{limits.describe()}; shorten it."
        )
    if len(known) < length:
        raise AtlasError(
            f"analyses.head_types.length is {length}, but there are {len(known)} different tokens to draw from; "
            "shorten it, or take `tokens: vocabulary` or a larger data set."
        )
    drawn = [np.random.default_rng([seed, i]).choice(known, size=length, replace=False) for i in range(number)]
    return np.array([[*start, *part, *part] for part in drawn], np.int64)


def head_scores(
    model: PreTrainedModel,
    ids: Int[np.ndarray, "sequences tokens"],
    length: int,
    *,
    batch_tokens: int,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """{"sequence": (S,), and of each of TYPES (S, layers, heads) fp32} of the rows of `ids` that fall to this shard.

    The last `length` tokens of every row are the second copy. Raises AtlasError for values that are not finite.
    """
    tokens = ids.shape[1]
    groups = shard_of(batches([tokens] * len(ids), batch_tokens), shard, shards)
    device = input_device(model)
    config = model.config.get_text_config()
    nothing = np.zeros((0, config.num_hidden_layers, config.num_attention_heads), np.float32)
    weights = torch.zeros(tokens)
    weights[tokens - length :] = 1 / length
    plan = Plan(stripes={kind: Stripe(distance(kind, length), weights) for kind in TYPES})

    def batch(group: Sequence[int]) -> list[np.ndarray]:
        given = sent(torch.as_tensor(ids[group]), device)
        with torch.no_grad(), attend(model, plan, padded_right=True) as record:
            decoder_stack(model)(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False)
        found = stacked_layers([record.stripes[kind] for kind in TYPES], model, ids[group].tolist())
        return [values.numpy() for values in found]

    fitted = Batches("batch_tokens", shorten="length")
    parts = [part for group in progress(groups) for part in fitted.run(batch, group)]
    numbers = np.array([i for group in groups for i in group], np.int32)
    return {"sequence": numbers} | {
        kind: np.concatenate([nothing, *(part[place] for part in parts)]) for place, kind in enumerate(TYPES)
    }
