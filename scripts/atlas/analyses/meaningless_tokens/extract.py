"""Column sums of attention with and without a span of meaningless tokens (the part that runs the model).

Source: Shi et al. 2025, arXiv 2510.01032, Fig. 18. Stored per prompt, layer and head, so that every reading of the
figure follows without the model:

    below[j]             sum over rows i > j of A[i, j]
    below_outside[j]     the same over rows outside the span
    below_renormalised[j] the same after each row is scaled to sum to 1 without the span's columns
    span_mass            mean over question rows of the attention on the span
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.by_layer import stack_layers
from atlas.analyses.meaningless_tokens.storage import CONDITIONS, COUNTS, SUMS, merge
from atlas.attention import ColumnSum, Plan, RowMass, attend
from atlas.models.batches import Batches
from atlas.models.padding import padded
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.meaningless_tokens.prompts import SpanPrompt
    from atlas.analyses.types import Ids, Progress


def extract(
    model: PreTrainedModel,
    prompts: Sequence[SpanPrompt],
    *,
    batch_tokens: int,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """Arrays of one shard of `prompts`, named as in storage.

    Per-prompt arrays have the prompt axis first; per-token arrays are (tokens of all prompts, layers, heads) fp32 in
    the order of `prompt`.
    """
    groups = shard_of(batches([len(p.with_span) for p in prompts], batch_tokens), shard, shards)
    fitted, parts = Batches("batch_tokens", shorten="max_tokens"), [_empty(model)]
    for group in progress(groups):
        parts += fitted.run(lambda some: _batch(model, [prompts[i] for i in some], some), group)
    return merge(parts)


def _empty(model: PreTrainedModel) -> dict[str, np.ndarray]:
    config = model.config.get_text_config()
    shape = (0, config.num_hidden_layers, config.num_attention_heads)
    counts = {key: np.zeros(0, np.int32) for key in ("prompt", *COUNTS)}
    sums = {f"{c}.{s}": np.zeros(shape, np.float32) for c in CONDITIONS for s in SUMS[c]}
    return {
        **counts,
        "span_mass": np.zeros(shape, np.float32),
        **{f"{c}.ids": np.zeros(0, np.int32) for c in CONDITIONS},
        **sums,
    }


def _batch(model: PreTrainedModel, prompts: Sequence[SpanPrompt], numbers: Sequence[int]) -> dict[str, np.ndarray]:
    device = next(model.parameters()).device
    counts = {key: np.array([getattr(p, key) for p in prompts], np.int32) for key in COUNTS}
    arrays: dict[str, np.ndarray] = {"prompt": np.array(numbers, np.int32), **counts}
    for condition in CONDITIONS:
        sequences = [p.without if condition == "without" else p.with_span for p in prompts]
        ids, mask = (part.to(device) for part in padded(sequences, "right"))
        position = torch.arange(ids.shape[1], device=device)[None]
        prefix = torch.from_numpy(counts["prefix"]).to(device)[:, None]
        span = torch.from_numpy(counts["span"]).to(device)[:, None]
        question = torch.from_numpy(counts["question"]).to(device)[:, None]
        real = mask.float()
        plan = Plan(column_sums={"below": ColumnSum(row_weights=real, min_distance=1)})
        if condition == "with":
            in_span = (position >= prefix) & (position < prefix + span)
            outside = real * ~in_span
            plan.column_sums["below_outside"] = ColumnSum(row_weights=outside, min_distance=1)
            plan.column_sums["below_renormalised"] = ColumnSum(row_weights=outside, min_distance=1, exclude=in_span)
            plan.row_masses["span"] = RowMass(in_span)
        with torch.no_grad(), attend(model, plan) as record:
            model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        keep = mask.bool().cpu().numpy()
        for name in SUMS[condition]:
            stacked = _by_token(record.column_sums[name], model, sequences)  # (B, T, layers, heads)
            arrays[f"{condition}.{name}"] = stacked[keep]
        arrays[f"{condition}.ids"] = ids.cpu().numpy()[keep].astype(np.int32)
        if condition == "with":
            rows = (position >= prefix + span) & (position < prefix + span + question)
            mass = _by_token(record.row_masses["span"], model, sequences)
            weight = (rows.float() / question.clamp_min(1)).cpu().numpy()
            arrays["span_mass"] = np.einsum("bt,btlh->blh", weight, mass, dtype=np.float64).astype(np.float32)
    return arrays


def _by_token(
    by_layer: dict[int, Float[Tensor, "batch heads tokens"]], model: PreTrainedModel, sequences: Sequence[Ids]
) -> Float[np.ndarray, "batch tokens layers heads"]:
    return stack_layers(by_layer, model, sequences).permute(0, 3, 1, 2).numpy()
