"""What the work of a job is made of: a model's size, and the memory and operations of its parts.

resources.py of each analysis puts the work of its stages together from these; planning/resources.py makes of that what
a scheduler is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.models.architectures import Shape

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

ROWS, ROW_TOKENS, PAIRS = 1000, 256, 2000  # of a data set whose size the configuration does not tell
DECODE = 4  # one generated token costs as much as so many of a prompt


@dataclass(frozen=True)
class Size:
    """What of a model decides the cost: parameters, layers, all heads, widths, bytes of a stored parameter."""

    parameters: int
    layers: int
    heads: int
    head_width: int
    kv_width: int
    width: int
    vocabulary: int
    file_bytes: int = 2

    @classmethod
    def guess(cls, parameters: int) -> Size:
        """The shape that a decoder of so many parameters usually has, wide rather than narrow."""
        width = max(64, 64 * round(2 * parameters ** (1 / 3) / 64))
        layers = max(1, round(parameters / (12 * width**2)))
        return cls(parameters, layers, layers * (width // 64), 64, width // 2, width, 131_072)

    @classmethod
    def of(cls, shape: Shape, record: Mapping[str, Any]) -> Size:
        """From the Shape in config.json and the `provenance.json` of a downloaded model."""
        return cls(
            parameters=record["parameters"],
            layers=shape.layers,
            heads=shape.layers * shape.heads,
            head_width=shape.head_width,
            kv_width=shape.kv_heads * shape.head_width,
            width=shape.width,
            vocabulary=shape.vocabulary,
            file_bytes=DTYPE_BYTES.get(record["dtype"], 4),
        )


@dataclass(frozen=True)
class Job:
    """One job of a stage: its model, how that is loaded, the analysis's options, and the data set's rows."""

    size: Size
    options: Mapping[str, Any]
    rows: int = ROWS
    gpu: bool = False
    dtype: str = "auto"
    device_map: str | None = None
    gpu_memory_gb: float = 80
    threads: int = 1

    @property
    def bytes(self) -> int:
        """Of one loaded parameter: `auto` is bfloat16 on a GPU and float32 on a CPU (bfloat16_if_faster at most)."""
        return DTYPE_BYTES.get(self.dtype, 2 if self.gpu else 4)


def activations(job: Job, tokens: float) -> float:
    """MB of the states of so many tokens in one forward pass: about twenty vectors of the residual's width each."""
    return tokens * job.size.width * 20 * job.bytes / 1e6


def logits(job: Job, tokens: float) -> float:
    """MB of the logits of so many tokens, as they come, in float32 and as log-probabilities."""
    return tokens * job.size.vocabulary * 3 * 4 / 1e6


def cache(job: Job, tokens: float) -> float:
    """MB of keys and values of so many tokens."""
    return tokens * job.size.layers * 2 * job.size.kv_width * job.bytes / 1e6


def forward(job: Job, tokens: float) -> float:
    """FLOPs of a forward pass over so many tokens."""
    return 2.0 * job.size.parameters * tokens


def batched(job: Job) -> float:
    return activations(job, job.options.get("batch_tokens", 4096))


@dataclass(frozen=True)
class Stage:
    """Whose options it reads, its working memory (MB, beside the weights), and the FLOPs of all its shards."""

    analyses: tuple[str, ...] = ()
    memory: Callable[[Job], float] = batched
    flops: Callable[[Job], float] = lambda job: forward(job, job.rows * ROW_TOKENS)
    whole_model: bool = True  # False: reads the weights layer by layer
