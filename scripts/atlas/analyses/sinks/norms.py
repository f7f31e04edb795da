"""Norms of hidden states, keys and values, by position (massive activations).

Sources: Sun et al., "Massive Activations in Large Language Models", COLM 2024, arXiv 2402.17762 (largest entries of the
states behind each layer); Gu et al., ICLR 2025, arXiv 2410.10781, section 3.1 (norms of states, keys and values at the
first token against those at others). This part runs with the model; tables are made in norms_table.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from atlas.attention.kernels import vector_norms

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def state_sizes(states: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch sizes tokens"]:
    """(B, 2, T): the norm of each state, and its largest absolute entry; nothing of a residual of several streams."""
    if states.dim() != 3:
        return states.new_empty(0)
    return torch.stack([vector_norms(states), states.abs().amax(-1).float()], 1)


def of_layers(found: Mapping[int, Tensor], size: int) -> dict[int, Float[Tensor, "batch 1 tokens"]]:
    """{layer: (B, 1, T)} of what `state_sizes` gave by residual (1 is behind layer 0): 0 the norms, 1 the entries."""
    return {index - 1: sizes[:, size : size + 1] for index, sizes in found.items() if sizes.numel()}


def over_heads(norms: Mapping[int, Float[Tensor, "batch kv_heads tokens"]]) -> dict[int, Tensor]:
    """{layer: (B, 1, T)}: the mean of the norms over the heads of keys and values."""
    return {layer: values.mean(1, keepdim=True) for layer, values in norms.items()}
