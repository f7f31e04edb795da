"""Tensors between the host and GPUs, with as few waits as can be.

A GPU works off a queue. Whatever reads a value back, and every blocking copy, empties it: the host waits, and then the
GPU waits for the host. On small models that costs more than the work, so inputs are sent without waiting and results
are fetched together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; from the host to a GPU by pinned memory, so that the host goes on meanwhile."""
    if tensor.device.type == "cpu" and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def fetched(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on the CPU, detached: those of GPUs by one copy, for which the host waits once.

    Tensors of several GPUs are brought together on the first one's, which the host does not wait for. What lies on the
    CPU is returned as it is.
    """
    found = [tensor.detach() for tensor in tensors]
    # Wide types first, so that each begins where its type may in a row of bytes.
    away = sorted((i for i, x in enumerate(found) if x.device.type != "cpu"), key=lambda i: -found[i].element_size())
    if not away:
        return found
    place = found[away[0]].device
    parts = [found[i].to(place).contiguous().flatten().view(torch.uint8) for i in away]
    here = torch.cat(parts).cpu().split([len(part) for part in parts])
    for i, part in zip(away, here, strict=True):
        found[i] = part.view(found[i].dtype).view(found[i].shape)
    return found
