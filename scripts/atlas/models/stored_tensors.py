"""Tensors as they lie in the files: mapped without a copy, and FP8 with a scale for each block as float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.errors import AtlasError
from atlas.models.safetensors_files import DTYPE_NAMES, ITEM_BYTES, Tensor, read_bytes

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

FP8 = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
_EXPONENT = 127  # of a scale that is stored as its exponent alone, one byte


def scale_names(name: str) -> tuple[str, ...]:
    """What the scales of the tensor `name` may be called."""
    stem = name.removesuffix(".weight")
    return f"{name}_scale_inv", f"{stem}.scale", f"{stem}.qscale_weight"


def dequantised(
    packed: Shaped[torch.Tensor, "rows columns"],
    scales: Shaped[torch.Tensor, "*grid"],
    block: Sequence[int] | None,
    name: str,
) -> Float[torch.Tensor, "rows columns"]:
    """Each entry times the scale of its block.

    block: rows and columns of one, whose last ones may be cut off; None: one scale for all, or as many equal blocks as
    there are scales. Raises AtlasError where scales and matrix do not fit.
    """
    rows, columns = packed.shape
    if scales.dtype == torch.uint8:
        scales = (scales.float() - _EXPONENT).exp2()
    grid = scales.float().reshape(1, 1) if scales.numel() == 1 else scales.float()
    if grid.dim() != 2:
        raise AtlasError(f"the scales of tensor {name!r} are no matrix; convert the weights to bfloat16 first.")
    if grid.numel() == 1:
        size = (rows, columns)
    elif block and grid.shape == (-(-rows // block[0]), -(-columns // block[1])):
        size = (block[0], block[1])
    elif rows % grid.shape[0] == 0 and columns % grid.shape[1] == 0:
        size = (rows // grid.shape[0], columns // grid.shape[1])
    else:
        raise AtlasError(
            f"tensor {name!r} of {rows} x {columns} does not fit its {grid.shape[0]} x {grid.shape[1]} scales; get the "
            "config.json that belongs to the weights."
        )
    out = packed.float()
    for row in range(grid.shape[0]):  # one row of blocks at a time: no matrix of scales as large as the weights
        part = slice(row * size[0], (row + 1) * size[0])
        out[part] *= grid[row].repeat_interleave(size[1])[:columns]
    return out


def mapped(path: Path, record: Tensor) -> Shaped[torch.Tensor, "*size"]:
    """A tensor whose bytes stay in the file (copy on write): memory holds only the pages in use, and may drop them."""
    kind = FP8.get(record.dtype) or getattr(torch, DTYPE_NAMES.get(record.dtype, "uint8"))
    item = ITEM_BYTES[record.dtype]
    if record.begin % item or not record.size:
        raw = read_bytes(path, record).view(f"<i{item}")
    else:
        raw = np.memmap(path, dtype=f"<i{item}", mode="c", offset=record.begin, shape=(record.size,))
    return torch.from_numpy(raw).view(kind).view(record.shape)
