"""Attention received by each position of natural, random and repeated input (the part that runs the model).

Source: Gu et al., ICLR 2025, arXiv 2410.10781, section 3. alpha[j] = mean over rows i >= j of A[i, j].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.by_layer import stack_layers
from atlas.attention import ColumnSum, Plan, attend
from atlas.data.tokens import encode, ordinary_ids
from atlas.errors import AtlasError
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from atlas.analyses.types import Progress


def sequences(
    kind: str,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    length: int,
    number: int,
    bos: bool,
    seed: int,
) -> tuple[Int[np.ndarray, "number length"], int]:
    """(ids (number, length) int64, texts dropped) of one kind of input.

    natural: the first `length` tokens of the first `number` texts that are long enough. random: ids drawn uniformly
    from the tokenizer's entries that stand for text. repeated: one such id all along. `bos` puts the
    beginning-of-sequence token in the first place. Raises AtlasError when there are too few texts.
    """
    start = [tokenizer.bos_token_id] if bos and tokenizer.bos_token_id is not None else []
    if bos and not start:
        raise AtlasError("analyses.sinks.bos is true, but the model's tokenizer has no beginning-of-sequence token.")
    room = length - len(start)
    if kind == "natural":
        rows: list[list[int]] = []
        short = 0
        for text in texts:
            ids = encode(tokenizer, text, special=False)
            if len(ids) >= room:
                rows.append(start + ids[:room])
            else:
                short += 1
            if len(rows) == number:
                return np.array(rows), short
        raise AtlasError(
            f"only {len(rows)} of {len(texts)} texts have {room} tokens, but analyses.sinks.sequences asks for "
            f"{number}; ask for fewer, shorten `length`, or take a larger sample of the data set."
        )
    rng = np.random.default_rng([seed, {"random": 0, "repeated": 1}[kind]])
    drawn = rng.choice(np.array(ordinary_ids(tokenizer)), size=(number, room if kind == "random" else 1))
    drawn = np.broadcast_to(drawn, (number, room))
    return np.concatenate([np.tile(np.array(start, np.int64), (number, 1)), drawn], axis=1), 0


def column_means(
    model: PreTrainedModel,
    ids: Int[np.ndarray, "sequences length"],
    *,
    batch_tokens: int,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """{"sequence": (S,), "alpha": (S, layers, heads, length) fp32} of the rows of `ids` that fall to this shard."""
    length = ids.shape[1]
    groups = shard_of(batches([length] * len(ids), batch_tokens), shard, shards)
    device = next(model.parameters()).device
    rows = length - torch.arange(length)
    config = model.config.get_text_config()
    alpha = [np.zeros((0, config.num_hidden_layers, config.num_attention_heads, length), np.float32)]
    for group in progress(groups):
        plan = Plan(column_sums={"alpha": ColumnSum(min_distance=0)})
        with torch.no_grad(), attend(model, plan) as record:
            model.base_model(input_ids=torch.as_tensor(ids[group]).to(device), use_cache=False)
        stacked = stack_layers(record.column_sums["alpha"], model, ids[group].tolist())
        alpha.append((stacked / rows).numpy())
    numbers = np.array([i for group in groups for i in group], np.int32)
    return {"sequence": numbers, "alpha": np.concatenate(alpha)}
