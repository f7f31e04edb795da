"""What a job asks of a scheduler, by the size of its model: memory, GPUs, minutes.

Everything is an upper estimate that grows with each attempt, so that a wrong one costs a retry, not a run.
docs/clusters.md states the same formulas and shows the numbers for three models (tested equal).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from atlas.analyses.registry import FOLDERS
from atlas.planning.estimates import Job, Size, Stage

BASE_MB = 1200  # Python, torch and transformers (500), and the two Snakemakes around a job on a cluster (600)
CUDA_MB = 3000  # what CUDA's libraries add in main memory
CONTEXT_MB = 650  # what CUDA's libraries and kernels take on each GPU (measured on one H100)
MB_PER_GB = 1073.741824  # a card of 80 GB is one of 80 GiB
FULL = 0.9  # of a GPU's memory: the allocator leaves gaps
STAGED_MB = 10_000  # on the way to a GPU no more of a checkpoint than this is in main memory at once
LIGHT_MB = 1500  # jobs on tables and plots, plus HEAD_MB for each head that they cover
HEAD_MB = 0.5
CPU_FLOPS = 50e9  # per thread, half of what a fast core gives
GPU_FLOPS = 20e12  # small batches; layers spread over several GPUs work one after the other
READ_MB = 100  # per second, from a shared file system
DOWNLOAD_MB = 20  # per second
MINUTES = 10  # what every job gets on top

# The stages that run a model, as resources.py of each analysis has them. One that is not named there counts as one pass
# over its data set.
STAGES: dict[str, Stage] = {}
# stage -> the folder of its analysis
STAGE_FOLDER: dict[str, str] = {}
for _folder in FOLDERS:
    if find_spec(f"atlas.analyses.{_folder}.resources"):
        _stages = import_module(f"atlas.analyses.{_folder}.resources").STAGES
        STAGES |= _stages
        STAGE_FOLDER |= dict.fromkeys(_stages, _folder)


def stage_options(stage: str, block: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """The options that a stage reads, of `block(analysis)`; later analyses of the stage win.

    What is run at once is the CPU's number where it is left open (planning/batches.py).
    """
    found = STAGES.get(stage, Stage())
    options = {key: value for name in found.analyses for key, value in block(name).items()}
    return found.batch.on_a_cpu(options) if found.batch else options


def device_mb(stage: str, job: Job) -> float:
    """MB that computing takes: the weights (or what of them is read at once) and the stage's working memory."""
    return _weights_mb(stage, job) + STAGES.get(stage, Stage()).memory(job).total


def _weights_mb(stage: str, job: Job) -> float:
    found = STAGES.get(stage, Stage())
    size = 4 if found.wide and not job.gpu else job.bytes
    return job.size.parameters * size / 1e6 if found.whole_model else 0


def gpu_mb(stage: str, job: Job, attempt: int = 1) -> int:
    """MB of memory that each GPU of a job must have; 0 without a GPU.

    The context of CUDA, the GPU's part of the weights and of what lies with the layers, and all of what is computed on
    one GPU at a time, of which further attempts ask for as much again; at most nine tenths of the memory.
    """
    return math.ceil(held_mb(stage, job, attempt, gpus(stage, job, attempt)) / FULL) if job.gpu else 0


def held_mb(stage: str, job: Job, attempt: int, number: int) -> float:
    """MB that each of `number` GPUs of a job holds."""
    working = STAGES.get(stage, Stage()).memory(job)
    return CONTEXT_MB + (_weights_mb(stage, job) + attempt * working.spread) / number + attempt * working.single


def gpus(stage: str, job: Job, attempt: int = 1) -> int:
    """GPUs of a job: none on the CPU, one as a rule.

    Under `device_map: auto` as many as hold it at nine tenths, at most one for each layer; one more on each further
    attempt.
    """
    if not job.gpu:
        return 0
    if job.device_map is None or not STAGES.get(stage, Stage()).whole_model:
        return 1
    room = FULL * MB_PER_GB * job.gpu_memory_gb
    fits = (n for n in range(1, job.size.layers) if held_mb(stage, job, attempt, n) <= room)
    number = next(fits, job.size.layers)
    return number if attempt == 1 else max(number, gpus(stage, job, attempt - 1) + 1)


def memory_mb(stage: str, job: Job, attempt: int = 1) -> int:
    """MB of main memory: on a CPU also the weights, as stored (mapped while they are read) and as loaded."""
    stored = job.size.parameters * job.size.file_bytes / 1e6 if STAGES.get(stage, Stage()).whole_model else 0
    held = CUDA_MB + min(stored, STAGED_MB) if job.gpu else stored + device_mb(stage, job)
    return math.ceil(attempt * (BASE_MB + held))


def runtime_minutes(stage: str, job: Job, attempt: int = 1, shards: int = 1) -> int:
    """Minutes: reading the weights, and the stage's share of the work at a modest speed."""
    found = STAGES.get(stage, Stage())
    reading = job.size.parameters * job.size.file_bytes / 1e6 / READ_MB
    speed = GPU_FLOPS if job.gpu else CPU_FLOPS * job.threads
    return math.ceil(attempt * (MINUTES + (reading + found.flops(job) / shards / speed) / 60))


def download_mb(size: Size, convert: bool, attempt: int = 1) -> int:
    """MB of a model's download: a GGUF is held twice in float32, anything else is written tensor by tensor."""
    largest = 4 * size.vocabulary * size.width / 1e6
    return math.ceil(attempt * (BASE_MB + (8 * size.parameters / 1e6 if convert else 4 * largest)))


def download_minutes(size: Size, attempt: int = 1) -> int:
    """Minutes to bring the stored weights here, hash and write them."""
    stored = size.parameters * size.file_bytes / 1e6
    return math.ceil(attempt * (MINUTES + stored * (1 / DOWNLOAD_MB + 3 / READ_MB) / 60))


def light_mb(heads: float, attempt: int = 1) -> int:
    """MB of a job without a model, over tables of so many heads in all."""
    return math.ceil(attempt * (LIGHT_MB + HEAD_MB * heads))
