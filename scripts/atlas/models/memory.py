"""Memory: how the C library hands it back, what is left on a GPU, and how much of it attention takes at once."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Attention scores that a GPU computes at once, and bytes for each: as the products give them, in float32, their
# softmax, and those of a distance that is cut.
GPU_TILE, TILE_BYTES = 1 << 27, 14

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def keep_freed_memory(mebibytes: int = 1024) -> bool:
    """Let this process keep up to so much freed memory for its next tensors; True where the C library can.

    glibc maps every large tensor afresh and the kernel clears each page: on a CPU that cost 4 to 7 % of a forward pass
    of a small model. The peak does not grow, for a tensor is larger than what lies between two of them. Other C
    libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    size = min(mebibytes << 20, (1 << 31) - 1)
    # Older versions of glibc take no more than 32 MiB.
    mapped = mallopt(_M_MMAP_THRESHOLD, size) or mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    return bool(mapped and mallopt(_M_TRIM_THRESHOLD, size))


def gpu_room(device: torch.device) -> int:
    """Bytes that a tensor on a GPU may still take: what is free, and what the allocator holds and does not use."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def gpus_of(model: PreTrainedModel) -> list[torch.device]:
    """The GPUs that a model's weights lie on; empty on a CPU."""
    places = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    return sorted(places, key=lambda place: place.index or 0)
