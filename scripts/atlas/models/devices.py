"""Which device a model runs on, and what is never done in silence: running on a CPU where a GPU was meant."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOG = logging.getLogger("atlas")
_GIB = 1 << 30
VISIBLE = "CUDA_VISIBLE_DEVICES"


def choose_device(device: str) -> str:
    """auto, cpu or cuda[:n] as a torch device name.

    auto is the GPU where torch sees one, and the CPU where there is none or CUDA_VISIBLE_DEVICES hides all. Raises
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


def listed_gpus() -> tuple[str, ...]:
    """What the driver lists, a line for each GPU; () without a driver or a GPU."""
    return tuple(line for line in driver_lines() if line.startswith("GPU "))


@cache
def driver_lines() -> tuple[str, ...]:
    """What the driver's own `nvidia-smi -L` says: a line for each GPU, and below it for each part (MIG) that it has."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.warning("%s is there and lists no GPU (%s)", program, error)
        return ()
    return tuple(line.rstrip() for line in said.splitlines())


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA_VISIBLE_DEVICES names it, and by what all jobs of the machine know it."""

    name: str
    identity: str


def visible_gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine that a job may take: those of CUDA_VISIBLE_DEVICES where it is set, else all.

    As CUDA reads the variable: numbers, or (abbreviated) names such as GPU-... and MIG-..., up to the first that does
    not exist. Without a driver's nvidia-smi a number or a name stands for itself.
    """
    listed = _listed()
    if VISIBLE not in os.environ:
        return tuple(Gpu(name, name) for name in listed)
    found: dict[str, Gpu] = {}
    for entry in filter(None, map(str.strip, os.environ[VISIBLE].split(","))):
        identity = _identity(entry, listed)
        if identity is None:
            break
        found.setdefault(identity, Gpu(entry, identity))
    return tuple(found.values())


def _listed() -> list[str]:
    """The UUIDs that the driver lists, by number; of a GPU that is cut into parts (MIG) those of the parts."""
    found: list[list[str]] = []
    for line in driver_lines():
        uuid = line.rpartition("(UUID: ")[2].rstrip(") ")
        if line.startswith("GPU "):
            found.append([uuid])
        elif line.strip().startswith("MIG ") and found:
            found[-1].append(uuid)
    return [uuid for gpu in found for uuid in (gpu[1:] or gpu)]


def _identity(entry: str, listed: list[str]) -> str | None:
    if entry.startswith("-"):
        return None
    if not listed:
        return entry
    if entry.isdigit():
        return listed[int(entry)] if int(entry) < len(listed) else None
    return next((uuid for uuid in listed if uuid.startswith(entry)), None)


def _refuse_unused_gpus() -> None:
    import torch

    found = listed_gpus()
    if found and visible_gpus():  # not where they are hidden, by a user or because the job asked for none
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
        f"{' and '.join(spilled)}. Give the job more GPUs (gpu_memory_gb says how much memory one has; on one machine "
        "--resources gpu=N allows N of them), take a smaller dtype, or set device: cpu."
    )
