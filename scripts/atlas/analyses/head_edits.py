"""The edits that ablate heads, and the mean outputs that `mean` puts in their place (the part that runs the model)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

from atlas.attention import Plan, attend
from atlas.errors import AtlasError
from atlas.models.architectures import input_device
from atlas.models.transfers import sent

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor
    from transformers import PreTrainedModel

    Prompts = Sequence[Sequence[int]]  # token ids
    Groups = Sequence[Sequence[tuple[int, int]]]  # of (layer, head), ablated together
    Means = dict[int, Tensor]  # {layer: (heads, value width)}


def group_masks(groups: Groups, heads: int) -> dict[int, Bool[Tensor, "groups heads"]]:
    """{layer: which of its `heads` each group ablates}."""
    where: dict[int, Tensor] = {}
    for row, group in enumerate(groups):
        for layer, head in group:
            mask = where.setdefault(layer, torch.zeros(len(groups), heads, dtype=torch.bool))
            mask[row, head] = True
    return where


@torch.no_grad()
def head_means(model: PreTrainedModel, prompts: Prompts) -> Means:
    """{layer: (heads, value width) float64}: each head's attention output averaged over all tokens of all prompts."""
    sums: dict[int, Tensor] = {}
    tokens = sum(map(len, prompts))
    with attend(model, Plan(capture=True)) as record:
        for prompt in prompts:
            ids = sent(torch.tensor([prompt]), input_device(model))
            model(ids, use_cache=False, logits_to_keep=1)
            for layer, capture in record.captures.items():
                sums[layer] = sums.get(layer, 0) + cast("Tensor", capture.output).double().sum((0, 1))
    return {layer: total / tokens for layer, total in sums.items()}


def ablation_plan(
    ablation: str, where: dict[int, Bool[Tensor, "rows heads"]], epsilon: float, means: Means | None = None
) -> Plan:
    """The Plan that ablates the heads `where` ({layer: (rows, heads) bool}); means: {layer: (heads, value width)}."""
    if ablation == "undifferentiated":
        return Plan(uniform=where)
    if ablation == "scaling":
        return Plan(scale={layer: torch.where(mask, epsilon, 1.0) for layer, mask in where.items()})
    if ablation == "mean" and means is not None:
        return Plan(replace={layer: (mask, means[layer]) for layer, mask in where.items()})
    raise AtlasError(f"ablation {ablation!r} is unknown; use undifferentiated, scaling, or mean with the heads' means.")
