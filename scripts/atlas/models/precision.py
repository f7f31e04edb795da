"""Which numbers a model is computed in: the dtype of `auto`, and what products may round (docs/precision.md).

A GPU multiplies float32 in TF32 (11 bits of each factor instead of 24) and adds up half-precision products in half
precision where it is allowed to. Both are set here, so that no variable of the environment decides what is measured.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from atlas.dtypes import NATIVE_BFLOAT16
from atlas.errors import AtlasError
from atlas.models.rates import bfloat16_is_faster
from atlas.models.safetensors_files import DTYPE_NAMES, Tensor

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger("atlas")
DTYPES = ("auto", "float32", "bfloat16", "float16", "bfloat16_if_faster")


def stored_dtype(tensors: Iterable[Tensor]) -> str:
    """What most entries of a checkpoint are stored in, as torch calls it; "" where that is no floating type of ours."""
    entries: Counter[str] = Counter()
    for tensor in tensors:
        entries[tensor.dtype] += tensor.size
    return DTYPE_NAMES.get(max(entries, key=lambda name: entries[name], default=""), "")


def chosen_dtype(dtype: str, device: str, stored: str) -> torch.dtype:
    """The dtype that `dtype` of a configuration means on `device` for weights stored in `stored`; the log says why.

    auto is float32 on a CPU. On a GPU it is bfloat16 where the card computes it itself (compute capability 8 or more)
    and float32 elsewhere; weights stored in float16, which bfloat16 would cut by three bits, stay float16.
    Raises AtlasError for a dtype that is none, and for float16 on a CPU.
    """
    import torch

    if dtype not in DTYPES:
        raise AtlasError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}.")
    if dtype == "auto":
        return torch.float32 if device == "cpu" else _auto_on_gpu(device, stored)
    if dtype == "bfloat16_if_faster":
        return torch.bfloat16 if bfloat16_is_faster(device) else torch.float32
    if dtype == "float16" and device == "cpu":
        raise AtlasError(
            "dtype: float16 is refused on the CPU, where it runs at about 0.3 GFLOP/s; use float32, bfloat16 or auto."
        )
    if dtype == "bfloat16" and stored == "float16":
        _LOG.warning(
            "weights stored in float16 are rounded to bfloat16, which keeps 8 of their 11 bits, as dtype: bfloat16 "
            "says: float16 (on a GPU) or float32 keep them"
        )
    return getattr(torch, dtype)


def _auto_on_gpu(device: str, stored: str) -> torch.dtype:
    import torch

    if stored == "float16":
        _LOG.info("dtype: auto is float16, in which the weights are stored")
        return torch.float16
    major, minor = torch.cuda.get_device_capability(torch.device(device))
    if major < NATIVE_BFLOAT16:
        _LOG.info(
            "dtype: auto is float32: compute capability %d.%d has no bfloat16 of its own (planned for where the "
            "model's gpu_capability says so)",
            major, minor,
        )  # fmt: skip
        return torch.float32
    return torch.bfloat16


def keep_products_exact() -> None:
    """Multiply float32 as float32 on a GPU and add half-precision products up in float32, whatever the variables.

    To be called before the first product: CUDA's libraries read NVIDIA_TF32_OVERRIDE then.
    """
    import torch

    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def products() -> dict[str, str]:
    """How a GPU multiplies in this process, for provenance: {"tf32": "off" or "on"}."""
    import torch

    allowed = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return {"tf32": "on" if allowed or os.environ.get("NVIDIA_TF32_OVERRIDE") == "1" else "off"}
