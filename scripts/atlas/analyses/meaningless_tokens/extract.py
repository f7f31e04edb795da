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

from atlas.analyses.by_layer import stacked_layers
from atlas.analyses.meaningless_tokens.storage import CONDITIONS, COUNTS, SUMS, merge
from atlas.attention import ColumnSum, Plan, RowMass, attend
from atlas.models.architectures import decoder_stack, input_device
from atlas.models.batches import Batches
from atlas.models.padding import padded
from atlas.models.transfers import sent
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
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
    counts = {key: np.array([getattr(p, key) for p in prompts], np.int32) for key in COUNTS}
    arrays: dict[str, np.ndarray] = {"prompt": np.array(numbers, np.int32), **counts}
    prefix, span, question = (torch.from_numpy(counts[key])[:, None] for key in ("prefix", "span", "question"))
    for condition in CONDITIONS:
        sequences = [p.without if condition == "without" else p.with_span for p in prompts]
        ids, mask = padded(sequences, "right")
        position = torch.arange(ids.shape[1])[None]
        in_span = (position >= prefix) & (position < prefix + span) if condition == "with" else None
        sums, masses = _recorded(model, ids, mask, in_span, sequences)
        keep = mask.bool().numpy()
        for name in SUMS[condition]:
            arrays[f"{condition}.{name}"] = sums[name].permute(0, 3, 1, 2).numpy()[keep]
        arrays[f"{condition}.ids"] = ids.numpy()[keep].astype(np.int32)
        if condition == "with":
            rows = (position >= prefix + span) & (position < prefix + span + question)
            mass = masses["span"].permute(0, 3, 1, 2).numpy()
            weight = (rows.float() / question.clamp_min(1)).numpy()
            arrays["span_mass"] = np.einsum("bt,btlh->blh", weight, mass, dtype=np.float64).astype(np.float32)
    return arrays


def _recorded(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch tokens"],
    mask: Int[Tensor, "batch tokens"],
    in_span: Bool[Tensor, "batch tokens"] | None,
    sequences: Sequence[Ids],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(column sums, row masses) by name, (B, layers, heads, T) each, of one forward; in_span: None without a span."""
    device = input_device(model)
    real = sent(mask.float(), device)
    plan = Plan(column_sums={"below": ColumnSum(row_weights=real, min_distance=1)})
    if in_span is not None:
        inside = sent(in_span, device)
        outside = real * ~inside
        plan.column_sums["below_outside"] = ColumnSum(row_weights=outside, min_distance=1)
        plan.column_sums["below_renormalised"] = ColumnSum(row_weights=outside, min_distance=1, exclude=inside)
        plan.row_masses["span"] = RowMass(inside)
    with torch.no_grad(), attend(model, plan, padded_right=True) as record:
        decoder_stack(model)(input_ids=sent(ids, device), attention_mask=sent(mask, device), use_cache=False)
    by_name = {**record.column_sums, **record.row_masses}
    found = dict(zip(by_name, stacked_layers(list(by_name.values()), model, sequences), strict=True))
    return {name: found[name] for name in plan.column_sums}, {name: found[name] for name in plan.row_masses}
