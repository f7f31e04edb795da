"""Texts of several lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


def padded(
    texts: Sequence[Sequence[int]], side: Literal["left", "right"]
) -> tuple[Int[Tensor, "texts tokens"], Int[Tensor, "texts tokens"]]:
    """(ids, mask) of token id sequences, both (B, longest) int64 on the CPU; padding is 0 in both and stands on `side`.

    padded([[5, 6, 7], [8]], "left")            # [[5, 6, 7], [0, 0, 8]], [[1, 1, 1], [0, 0, 1]]
    """
    width = max(map(len, texts))
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        here = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        ids[row, here] = torch.tensor(text, dtype=torch.long)
        mask[row, here] = 1
    return ids, mask
