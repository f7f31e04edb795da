"""How much is run at once where an option says `auto`: by the configuration alone, for results follow it in rounding.

On a CPU it is a fixed number. For a model with `device: cuda` it is as much as the memory of its cards has room for
beside the weights, by the formulas that jobs ask for memory with: the CPU's number times a power of two, so that a
formula that is made a little better moves no result. Neither the machine that plans nor the one that runs is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from atlas.planning.estimates import AUTO, Batch, Job
from atlas.planning.resources import FULL, MB_PER_GB, STAGES, gpus, held_mb

# At most so many times the CPU's number: products are then as large as makes a GPU busy, and a data set is still cut
# into several batches, which shards share among them and a killed job keeps of its answers.
MOST = 16


def is_auto(stage: str, options: Mapping[str, Any]) -> bool:
    """Whether these options of a stage leave open how much is run at once."""
    batch = STAGES[stage].batch if stage in STAGES else None
    return batch is not None and batch.of(options) == AUTO


def for_gpus(stage: str, job: Job) -> int:
    """What `auto` means for a job of `stage` on GPUs; its options have the CPU's number in that place.

    The GPUs are as many as the CPU's number asks for. Where not even that fits, a half, a quarter and so on.
    """
    batch = STAGES[stage].batch
    assert batch is not None
    number, room = gpus(stage, job), FULL * MB_PER_GB * job.gpu_memory_gb
    size = MOST * batch.on_cpu
    while size > batch.least and _held(stage, job, batch, size, number) > room:
        size //= 2
    return max(size, batch.least)


def _held(stage: str, job: Job, batch: Batch, size: int, number: int) -> float:
    return held_mb(stage, replace(job, options=batch.put(job.options, size)), 1, number)
