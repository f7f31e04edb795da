"""Hits of every head on prompts that hold a relation's source token: is the target among the top k of what it writes?

Source: Elhelo & Geva, ACL 2025, arXiv 2412.11965, section 4.1. A head's output at the last token goes through its own
W_O and the raw unembedding, as in the static map: no final norm, no other head. The bias of the values is part of the
output, which the map leaves out; that of W_O belongs to no head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.head_categories.head_outputs import CONTEXTS, HeadOutputs, head_outputs
from atlas.analyses.head_categories.metrics import SIGNS
from atlas.analyses.head_categories.top_hits import top_hits

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedModel

    from atlas.analyses.head_categories.dynamic_prompts import Placed
    from atlas.models.weights import WeightReader

    Held = list[tuple[int, HeadOutputs]]  # (template, outputs)

_HELD = 1 << 30  # bytes of outputs that are projected together: W_O U of a head is formed once for all of them


def dynamic_hits(
    model: PreTrainedModel,
    reader: WeightReader,
    prompts: Sequence[Sequence[Placed]],
    targets: Sequence[int],
    k: Sequence[int],
    *,
    max_rows: int | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, np.ndarray]:
    """Hits of P > 0 pairs in T templates under every head of the layers with attention.

    reader: the model's weights. prompts: P lists of T prompts, one for each template. targets, k: (P,) token, and how
    many of the top count.
    Returns layers (L,), and {context}_{sign} for the contexts `with` and `without` and the signs direct and
    suppression, (L, heads, P, T) uint8: 1 where the target is among the k largest (smallest) logits.
    Raises AtlasError: outputs that are not finite, weights that cannot be read.
    """
    wanted, tops = torch.tensor(list(targets)), torch.tensor(list(k))
    unembedding, longest = reader.unembedding(), 0.0
    found: dict[str, np.ndarray] = {}
    for held in _held(model, prompts, max_rows, progress):
        layers = sorted(held[0][1].by_layer)
        pair = torch.tensor([number for _, one in held for number in one.prompts])
        template = np.repeat([at for at, _ in held], [len(one.prompts) for _, one in held])
        if not found:
            shape = len(layers), reader.shape.heads, len(prompts), len(prompts[0])
            names = [f"{context}_{sign}" for context in CONTEXTS for sign in SIGNS]
            found = {"layers": np.array(layers, np.int32)} | {name: np.zeros(shape, np.uint8) for name in names}
        for at, layer in enumerate(layers):
            states = torch.cat([one.by_layer[layer][context] for context in CONTEXTS for _, one in held])
            if not longest:
                unembedding = unembedding.to(states.dtype)
                longest = float(unembedding.norm(dim=1).amax())
            weights = reader.output_weights(layer).to(unembedding)
            hits = _of_layer(states, weights, unembedding, longest, wanted[pair], tops[pair])
            for (context, sign), own in zip(
                ((context, sign) for context in CONTEXTS for sign in SIGNS), hits, strict=True
            ):
                found[f"{context}_{sign}"][at, :, pair.numpy(), template] = own
    return found


def _held(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[Placed]],
    max_rows: int | None,
    progress: Callable[[Iterable[int]], Iterable[int]],
) -> Iterator[Held]:
    """Outputs of all prompts, in lists of about _HELD bytes."""
    held: Held = []
    size = 0
    for template in progress(range(len(prompts[0]))):
        for outputs in head_outputs(model, [row[template] for row in prompts], max_rows):
            held.append((template, outputs))
            size += sum(x.nbytes for of in outputs.by_layer.values() for x in of.values())
            if size > _HELD:
                yield held
                held, size = [], 0
    if held:
        yield held


def _of_layer(
    states: Float[Tensor, "contexts_prompts heads value_width"],
    output: Float[Tensor, "heads value_width width"],
    unembedding: Float[Tensor, "vocabulary width"],
    longest: float,
    targets: Int[Tensor, " prompts"],
    k: Int[Tensor, " prompts"],
) -> list[np.ndarray]:
    """(prompts, heads) bool of each context and, within it, sign; states: those of the contexts, one after another."""
    device, contexts = unembedding.device, len(CONTEXTS)
    targets, k = targets.repeat(contexts).to(device), k.repeat(contexts).to(device)
    hits = top_hits(states.to(device), output, unembedding, longest, targets, k).cpu().numpy()
    both = hits.reshape(len(SIGNS), len(output), contexts, -1)
    return [both[sign, :, context].T for context in range(contexts) for sign in range(len(SIGNS))]
