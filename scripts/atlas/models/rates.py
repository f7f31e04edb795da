"""How fast this machine multiplies matrices in one format or another, measured where it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# bfloat16 costs accuracy, so it has to be faster by more than a measurement errs.
_FASTER = 1.2


def product_rate(
    dtype: torch.dtype,
    rows: int = 1024,
    inner: int = 576,
    columns: int = 1536,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    repeats: int = 5,
) -> float:
    """Floating-point operations per second of (rows, inner) x (inner, columns) in `dtype`, the best of `repeats`.

    The sizes of the default are those of a small model's layers. `clock` gives seconds.
    """
    import torch

    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(columns, inner, device=device).to(dtype)

    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    torch.nn.functional.linear(left, right)  # the first call chooses its kernel
    best = float("inf")
    for _ in range(repeats):
        wait()
        start = clock()
        torch.nn.functional.linear(left, right)
        wait()
        best = min(best, clock() - start)
    return 2 * rows * inner * columns / max(best, 1e-9)


def bfloat16_is_faster(device: str, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Whether products in bfloat16 run at more than 1.2 times the rate of float32 on `device`, here and now.

    A flag of the processor does not say so: with avx512_bf16 and without AMX they can be slower.
    """
    import torch

    half, whole = (product_rate(dtype, device=device, clock=clock) for dtype in (torch.bfloat16, torch.float32))
    return half > _FASTER * whole
