"""What a job asks of a scheduler, by the size of its model: memory, GPUs, minutes. The only place with these formulas.

Everything is an upper estimate that grows with each attempt, so that a wrong one costs a retry, not a run.
docs/clusters.md states the same formulas and shows the numbers for three models (tested equal).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.models.architectures import Shape

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

BASE_MB = 1200  # Python, torch and transformers (500), and the two Snakemakes around a job on a cluster (600)
CUDA_MB = 3000  # what CUDA's libraries add in main memory
STAGED_MB = 10_000  # on the way to a GPU no more of a checkpoint than this is in main memory at once
LIGHT_MB = 1500  # jobs on tables and plots, plus HEAD_MB for each head that they cover
HEAD_MB = 0.5
CPU_FLOPS = 50e9  # per thread, half of what a fast core gives
GPU_FLOPS = 20e12  # small batches; layers spread over several GPUs work one after the other
READ_MB = 100  # per second, from a shared file system
DOWNLOAD_MB = 20  # per second
MINUTES = 10  # what every job gets on top
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
        """Of one loaded parameter: `auto` is bfloat16 on a GPU and float32 on a CPU (bfloat16_if_native at most)."""
        return DTYPE_BYTES.get(self.dtype, 2 if self.gpu else 4)


def _activations(job: Job, tokens: float) -> float:
    """MB of the states of so many tokens in one forward pass: about twenty vectors of the residual's width each."""
    return tokens * job.size.width * 20 * job.bytes / 1e6


def _logits(job: Job, tokens: float) -> float:
    """MB of the logits of so many tokens, as they come, in float32 and as log-probabilities."""
    return tokens * job.size.vocabulary * 3 * 4 / 1e6


def _cache(job: Job, tokens: float) -> float:
    """MB of keys and values of so many tokens."""
    return tokens * job.size.layers * 2 * job.size.kv_width * job.bytes / 1e6


def _forward(job: Job, tokens: float) -> float:
    """FLOPs of a forward pass over so many tokens."""
    return 2.0 * job.size.parameters * tokens


def _batched(job: Job) -> float:
    return _activations(job, job.options.get("batch_tokens", 4096))


def _mappings_memory(job: Job) -> float:
    """One layer, embedding and unembedding in float32, and the option memory_mb."""
    layer, matrices = 12 * job.size.width**2, 3 * job.size.vocabulary * job.size.width
    return job.options.get("memory_mb", 1024) + (layer + matrices) * 4 / 1e6


def _mappings_flops(job: Job) -> float:
    return job.size.heads * 2.0 * job.size.head_width * job.size.vocabulary * (job.size.width + PAIRS)


def _answers(job: Job) -> float:
    predictions = job.options["predictions"]
    asked = 7 * (predictions.get("questions") or ROWS / 7)  # a D3 question stands on two D2 and four D1 questions
    return _forward(job, asked * (ROW_TOKENS + DECODE * max(predictions["max_new_tokens"])))


def _variants(job: Job) -> int:
    return len(job.options["ablations"]) * (1 + job.options["draws"]) * len(job.options["heads"])


@dataclass(frozen=True)
class Stage:
    """Whose options it reads, its working memory (MB, beside the weights), and the FLOPs of all its shards."""

    analyses: tuple[str, ...] = ()
    memory: Callable[[Job], float] = _batched
    flops: Callable[[Job], float] = lambda job: _forward(job, job.rows * ROW_TOKENS)
    whole_model: bool = True  # False: reads the weights layer by layer


# Short answers to questions, few-shot: the same again where the model is asked for the exact answer inside each.
_SHORT_ANSWERS = Stage(
    analyses=("saliency",),
    memory=lambda job: _cache(job, job.options["batch_size"] * 512) + _logits(job, 256),
    flops=lambda job: _forward(job, job.rows * (ROW_TOKENS + DECODE * job.options["max_new_tokens"])),
)

# Tokens of question and answer behind the prefix that all texts of saliency share.
_SALIENCY_TOKENS = 64


def _graph(job: Job) -> float:
    """MB of a batch's states in all layers at once, its keys and values with the prefix, and the answers' logits."""
    tokens = job.options["batch_tokens"]
    return job.size.layers * _activations(job, tokens) + _cache(job, 16 * tokens) + _logits(job, tokens / 4)


# The stages that run a model. One that is not named here counts as one pass over its data set.
STAGES = {
    "generate_qa_answers": _SHORT_ANSWERS,
    "extract_exact_answers": _SHORT_ANSWERS,
    "extract_hidden_states": Stage(
        analyses=("saliency",),
        memory=lambda job: _batched(job) + _cache(job, 16 * job.options["batch_tokens"]),
        flops=lambda job: _forward(job, job.options["samples"] * _SALIENCY_TOKENS),
    ),
    "extract_saliency": Stage(
        analyses=("saliency",),
        memory=_graph,
        # A forward pass and up to two backward passes of about twice its work.
        flops=lambda job: _forward(job, 5 * job.options["samples"] * _SALIENCY_TOKENS),
    ),
    "extract_attention": Stage(
        analyses=("meaningless_tokens",),
        flops=lambda job: _forward(job, 2 * job.rows * min(job.options["max_tokens"], ROW_TOKENS)),
    ),
    "extract_sinks": Stage(
        analyses=("sinks",),
        flops=lambda job: _forward(job, len(job.options["inputs"]) * job.options["sequences"] * job.options["length"]),
    ),
    "extract_head_mappings": Stage(
        analyses=("head_categories",), memory=_mappings_memory, flops=_mappings_flops, whole_model=False
    ),
    "generate_answers": Stage(
        analyses=("mink",),
        memory=lambda job: _cache(job, job.options["predictions"]["batch_size"] * 1024) + _logits(job, 256),
        flops=_answers,
    ),
    "extract_token_logprobs": Stage(
        analyses=("mink",),
        memory=lambda job: _batched(job) + _logits(job, job.options["batch_tokens"]),
        flops=lambda job: _forward(job, len(job.options["texts"]) * job.rows * ROW_TOKENS),
    ),
    "extract_head_ablations": Stage(
        analyses=("safety_heads",),
        memory=lambda job: _activations(job, 8192),
        # Every head is ablated for every prompt, and on average half the layers follow it.
        flops=lambda job: _forward(job, job.rows * 64 * job.size.heads * len(job.options["ablations"]) / 2),
    ),
    "search_head_groups": Stage(
        analyses=(
            "safety_heads",
            "head_groups",
        ),
        memory=lambda job: _activations(job, 8192),
        flops=lambda job: _forward(
            job, job.rows * 64 * job.options["candidates"] * job.options["size"] * len(job.options["ablations"])
        ),
    ),
    "generate_ablated": Stage(
        analyses=(
            "safety_heads",
            "ablation_effect",
        ),
        memory=lambda job: _cache(job, 128 * 128) + _activations(job, 8192),
        flops=lambda job: _forward(job, job.rows * _variants(job) * (64 + DECODE * job.options["new_tokens"])),
    ),
}


def stage_options(stage: str, analyses: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options that a stage reads, of {analysis: options}; later analyses of the stage win."""
    names = STAGES.get(stage, Stage()).analyses
    return {key: value for name in names for key, value in analyses[name].items()}


def device_mb(stage: str, job: Job) -> float:
    """MB on the device that computes: the weights (or one layer of them) and the stage's working memory."""
    found = STAGES.get(stage, Stage())
    weights = job.size.parameters * job.bytes / 1e6 if found.whole_model else 0
    return weights + found.memory(job)


def gpus(stage: str, job: Job) -> int:
    """GPUs of a job: none on the CPU, one as a rule, under `device_map: auto` as many as hold it at nine tenths."""
    if not job.gpu:
        return 0
    if job.device_map is None:
        return 1
    return max(1, math.ceil(device_mb(stage, job) / (0.9 * 1000 * job.gpu_memory_gb)))


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
