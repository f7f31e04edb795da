"""Attention received by each position, and its norms, for natural, random and repeated input (this runs the model).

Source: Gu et al., ICLR 2025, arXiv 2410.10781, section 3. alpha[j] = mean over rows i >= j of A[i, j].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.beginnings import drawable
from atlas.analyses.by_layer import stacked_layers
from atlas.analyses.sinks.norms import of_layers, over_heads, state_sizes
from atlas.attention import ColumnSum, Plan, attend
from atlas.attention.residuals import residuals
from atlas.data.tokens import encode
from atlas.errors import AtlasError
from atlas.models.architectures import decoder_stack, input_device
from atlas.models.batches import Batches
from atlas.models.limits import UNKNOWN, Limits
from atlas.models.transfers import sent
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from atlas.analyses.types import Progress


SHORT = "too short"
# What is measured of each position beside the attention that it receives.
NORMS = ("state", "entry", "key", "value")


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
    """Arrays, fp32, of the rows of `ids` that fall to this shard, all from one pass:

    "sequence" (S,); "alpha" (S, layers, heads, length); and (S, layers, length) "state" and "entry" (norm and largest
    absolute entry of the residual behind each layer), "key" and "value" (norms of each key and value as attention reads
    them, their mean over heads). NaN in layers without attention, and for states of a residual of several streams.
    """
    length = ids.shape[1]
    groups = shard_of(batches([length] * len(ids), batch_tokens), shard, shards)
    device = input_device(model)
    rows = length - torch.arange(length)
    config = model.config.get_text_config()
    heads = {"alpha": config.num_attention_heads, **dict.fromkeys(NORMS, 1)}
    parts = [
        {name: np.zeros((0, config.num_hidden_layers, number, length), np.float32) for name, number in heads.items()}
    ]

    def batch(group: Sequence[int]) -> dict[str, np.ndarray]:
        plan = Plan(column_sums={"alpha": ColumnSum(min_distance=0)}, norms=True)
        given = sent(torch.as_tensor(ids[group]), device)
        behind = range(1, config.num_hidden_layers + 1)
        with (
            torch.no_grad(),
            attend(model, plan, padded_right=True) as record,
            residuals(model, behind, state_sizes) as states,
        ):
            decoder_stack(model)(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False)
        found = {
            "alpha": record.column_sums["alpha"],
            "state": of_layers(states, 0),
            "entry": of_layers(states, 1),
            "key": over_heads(record.key_norms),
            "value": over_heads(record.value_norms),
        }
        return _as_arrays(found, rows, model, ids[group])

    fitted = Batches("batch_tokens", shorten="length")
    for group in progress(groups):
        parts += fitted.run(batch, group)
    numbers = np.array([i for group in groups for i in group], np.int32)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in heads}
    return {"sequence": numbers, "alpha": joined["alpha"], **{name: joined[name][:, :, 0] for name in NORMS}}


def _as_arrays(
    found: dict[str, dict[int, Tensor]],
    rows: Int[Tensor, " length"],
    model: PreTrainedModel,
    ids: Int[np.ndarray, "batch length"],
) -> dict[str, np.ndarray]:
    """Each record as (batch, layers, heads or 1, length); all but alpha where some family has none: NaN."""
    there = [name for name, by_layer in found.items() if by_layer or name == "alpha"]
    stacked = dict(zip(there, stacked_layers([found[name] for name in there], model, ids.tolist()), strict=True))
    stacked["alpha"] = stacked["alpha"] / rows
    nothing = torch.full_like(stacked["alpha"][:, :, :1], torch.nan)
    return {name: stacked.get(name, nothing).numpy() for name in found}
