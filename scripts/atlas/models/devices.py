"""Which device a model runs on, and what is never done in silence: running on a CPU where a GPU was meant."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOG = logging.getLogger("atlas")
_GIB = 1 << 30


def choose_device(device: str) -> str:
    """auto, cpu or cuda[:n] as a torch device name.

    auto is the GPU where torch sees one, and the CPU where there is none or CUDA_VISIBLE_DEVICES hides it. Raises
    AtlasError where there is no such device, and for auto where the driver lists a GPU that torch cannot use.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        _refuse_unused_gpus()
        return "cpu"
    kind = str(device).split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise AtlasError(f"device {device!r} is unknown; use auto, cpu or cuda.")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise AtlasError("device: cuda was asked for, but torch sees no CUDA device; use device: auto or cpu.")
        index = str(device).partition(":")[2]
        if index and (not index.isdigit() or int(index) >= torch.cuda.device_count()):
            raise AtlasError(f"device {device!r} does not exist; torch sees {torch.cuda.device_count()} CUDA devices.")
    return str(device)


@cache
def listed_gpus() -> tuple[str, ...]:
    """What the driver's own `nvidia-smi -L` lists, a line for each GPU; () without a driver or a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.warning("%s is there and lists no GPU (%s)", program, error)
        return ()
    return tuple(line.strip() for line in said.splitlines() if line.startswith("GPU "))


def _refuse_unused_gpus() -> None:
    import torch

    if "CUDA_VISIBLE_DEVICES" in os.environ:  # a scheduler or a user has said which
        return
    if found := listed_gpus():
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        raise AtlasError(
            f"device: auto found {len(found)} GPU(s) ({found[0]}) that torch cannot use: torch {torch.__version__} "
            f"{built}. Set device: cpu for this model to run on the CPU, or install a torch that fits the driver "
            "(docs/gpu.md)."
        )


def refuse_spilling(model: PreTrainedModel, folder: Path, device: str) -> None:
    """AtlasError where device_map: auto has put parts of a model that was meant for GPUs on the CPU or on a disk."""
    import torch

    # The map names what is kept elsewhere and copied in; a model that fits nowhere lies on the CPU without a map.
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    places |= {parameter.device.type for parameter in model.parameters()}
    spilled = sorted(
        {"a disk" if place in ("disk", "meta") else "the CPU" for place in places & {"cpu", "disk", "meta"}}
    )
    if device == "cpu" or not spilled:
        return
    needed = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) / _GIB
    room = [torch.cuda.mem_get_info(index)[0] / _GIB for index in range(torch.cuda.device_count())]
    raise AtlasError(
        f"Model {folder} does not fit on the {len(room)} GPU(s) of its job: its weights take {needed:.1f} GiB, "
        f"{', '.join(f'{free:.1f}' for free in room)} GiB are left there, and device_map: auto would run the rest on "
        f"{' and '.join(spilled)}. Give the job more GPUs (gpu_memory_gb says how much memory one has), take a "
        "smaller dtype, or set device: cpu."
    )
