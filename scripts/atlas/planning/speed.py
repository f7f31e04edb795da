"""How fast this machine is, for what a run will take."""

from __future__ import annotations

from functools import cache

from atlas.models.rates import product_rate
from atlas.planning.resources import GPU_FLOPS


@cache
def rate_of(dtype: str, device: str) -> float:
    """Floating-point operations per second of one core, or of one GPU (`device` cuda), measured once in a process.

    Of a GPU that this machine lacks: what is planned with for every GPU (planning/resources.py).
    """
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        return GPU_FLOPS
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        kind = getattr(torch, dtype)
        return product_rate(kind) if device == "cpu" else product_rate(kind, 4096, 4096, 4096, device=device)
    finally:
        torch.set_num_threads(threads)
