"""Attention received by each position of natural, random and repeated input (the part that runs the model).

Source: Gu et al., ICLR 2025, arXiv 2410.10781, section 3. alpha[j] = mean over rows i >= j of A[i, j].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.beginnings import drawable
from atlas.analyses.by_layer import stack_layers
from atlas.attention import ColumnSum, Plan, attend
from atlas.data.tokens import encode
from atlas.errors import AtlasError
from atlas.models.architectures import decoder_stack, input_device
from atlas.models.batches import Batches
from atlas.models.limits import UNKNOWN, Limits
from atlas.models.transfers import sent
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from atlas.analyses.types import Progress


SHORT = "too short"


def sequences(
    kind: str,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    length: int,
    number: int,
    start: Sequence[int],
    seed: int,
    limits: Limits,
) -> tuple[Int[np.ndarray, "number length"], dict[str, int]]:
    """(ids (number, length) int64, {reason: texts dropped}) of one kind of input.

    natural: the first `length` tokens of the first `number` texts that are long enough. random: ids drawn uniformly
    from the tokenizer's entries that stand for text and that the model knows. repeated: one such id all along. `start`
    (as from beginnings.py) stands in the first places. Raises AtlasError when there are too few texts, and where
    `length` is more than the model takes.
    """
    if limits.tokens is not None and length > limits.tokens:
        raise AtlasError(f"analyses.sinks.length is {length}, but {limits.describe()}; shorten it.")
    front = list(start)
    room = length - len(front)
    if kind == "natural":
        rows: list[list[int]] = []
        dropped = {SHORT: 0, UNKNOWN: 0}
        for text in texts:
            ids = encode(tokenizer, text, special=False)
            ids = ids[len(front) :] if ids[: len(front)] == front else ids  # a text may begin with it itself
            row = front + ids[:room]
            reason = SHORT if len(ids) < room else limits.objection(row)
            if reason is None:
                rows.append(row)
            else:
                dropped[reason] += 1
            if len(rows) == number:
                return np.array(rows), dropped
        raise AtlasError(
            f"only {len(rows)} of {len(texts)} texts have {room} tokens (of the others {dropped[SHORT]} are shorter "
            f"and {dropped[UNKNOWN]} hold a token that the model does not know), but analyses.sinks.sequences asks "
            f"for {number}; ask for fewer, shorten `length`, or take a larger sample of the data set."
        )
    rng = np.random.default_rng([seed, {"random": 0, "repeated": 1}[kind]])
    drawn = rng.choice(drawable(tokenizer, limits), size=(number, room if kind == "random" else 1))
    drawn = np.broadcast_to(drawn, (number, room))
    return np.concatenate([np.tile(np.array(front, np.int64), (number, 1)), drawn], axis=1), {SHORT: 0, UNKNOWN: 0}


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
    device = input_device(model)
    rows = length - torch.arange(length)
    config = model.config.get_text_config()
    alpha = [np.zeros((0, config.num_hidden_layers, config.num_attention_heads, length), np.float32)]

    def batch(group: Sequence[int]) -> np.ndarray:
        plan = Plan(column_sums={"alpha": ColumnSum(min_distance=0)})
        given = sent(torch.as_tensor(ids[group]), device)
        with torch.no_grad(), attend(model, plan, padded_right=True) as record:
            decoder_stack(model)(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False)
        stacked = stack_layers(record.column_sums["alpha"], model, ids[group].tolist())
        return (stacked / rows).numpy()

    fitted = Batches("batch_tokens", shorten="length")
    for group in progress(groups):
        alpha += fitted.run(batch, group)
    numbers = np.array([i for group in groups for i in group], np.int32)
    return {"sequence": numbers, "alpha": np.concatenate(alpha)}
