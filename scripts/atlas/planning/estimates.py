"""What the work of a job is made of: a model's size, and the memory and operations of its parts.

resources.py of each analysis puts the work of its stages together from these; planning/resources.py makes of that what
a scheduler is asked for. tests/device/test_memory.py holds them to what the stages take on GPUs that are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.dtypes import DTYPE_BYTES, NATIVE_BFLOAT16

if TYPE_CHECKING:
    from atlas.models.architectures import Shape

# Of a data set whose size the configuration does not tell; PAIRS: of all RELATIONS, that are single tokens to a model.
ROWS, ROW_TOKENS, PAIRS, RELATIONS = 1000, 256, 2000, 20
TREE = 7  # questions of a graph: one of depth 3 on two of depth 2 and four of depth 1
AUTO = "auto"
DECODE = 4  # one generated token costs as much as so many of a prompt

# Elements that the code holds at once: scores of attention whose columns are summed (attention/kernels.py), and logits
# whose statistics are taken, by device (models/next_token.py).
TILE = {False: 2**21, True: 2**27}
LOGITS = {False: 2**23, True: 2**26}


@dataclass(frozen=True)
class Size:
    """What of a model decides the cost: parameters, layers, all heads, widths, bytes of a stored parameter.

    inner: numbers that the MLP of a layer holds for each token (three times its width where it is gated, else twice).
    stored: the dtype of the weights' files; "" where it is not known.
    """

    parameters: int
    layers: int
    heads: int
    head_width: int
    kv_width: int
    width: int
    vocabulary: int
    file_bytes: int = 2
    inner: int = 0
    stored: str = ""

    @classmethod
    def guess(cls, parameters: int) -> Size:
        """The shape that a decoder of so many parameters usually has, wide rather than narrow."""
        width = max(64, 64 * round(2 * parameters ** (1 / 3) / 64))
        layers = max(1, round(parameters / (12 * width**2)))
        return cls(parameters, layers, layers * (width // 64), 64, width // 2, width, 131_072)

    @classmethod
    def of(cls, shape: Shape, record: Mapping[str, Any], inner: int = 0) -> Size:
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
            inner=inner,
            stored=record["dtype"],
        )

    @property
    def mlp(self) -> int:
        """`inner`, or where it is not known that of a layer of twelve squares of the width."""
        return self.inner or 8 * self.width

    @property
    def queries(self) -> int:
        """Width of the queries of one layer."""
        return self.heads // self.layers * self.head_width


@dataclass(frozen=True)
class Job:
    """One job of a stage: its model, how that is loaded, the analysis's options, and the data set's rows.

    rows: of kind relations the pairs that are single tokens to a model, of `relations` relations.
    """

    size: Size
    options: Mapping[str, Any]
    rows: int = ROWS
    relations: int = RELATIONS
    gpu: bool = False
    dtype: str = "auto"
    device_map: str | None = None
    gpu_memory_gb: float = 80
    gpu_capability: float = NATIVE_BFLOAT16
    threads: int = 1

    @property
    def bytes(self) -> int:
        """Of one loaded parameter: `auto` is float32 on a CPU (bfloat16_if_faster at most); on a GPU it is half
        precision where that is safe, as models/precision.py chooses it."""
        if self.dtype == "auto" and self.gpu:
            half = self.size.stored == "float16" or self.gpu_capability >= NATIVE_BFLOAT16
            return 2 if half else 4
        return DTYPE_BYTES.get(self.dtype, 2 if self.gpu else 4)

    @property
    def copies(self) -> int:
        """Bytes of a number that is computed in float32, with what it is a copy of."""
        return 4 + (self.bytes if self.bytes < 4 else 0)


@dataclass(frozen=True)
class Memory:
    """MB of a stage beside the weights: `single` on one device at a time, `spread` with the layers that it is of."""

    single: float = 0.0
    spread: float = 0.0

    @property
    def total(self) -> float:
        return self.single + self.spread


def activations(job: Job, tokens: float) -> float:
    """MB of the states of so many tokens in one layer of a forward pass: those of the MLP and five residuals."""
    return tokens * (job.size.mlp + 5 * job.size.width) * job.bytes / 1e6


def scores(job: Job, tokens: float, length: float, arrays: int = 2) -> float:
    """MB of a tile of attention scores in `arrays` of float32, of so many tokens in texts of a length."""
    heads = job.size.heads / job.size.layers
    return min(TILE[job.gpu], tokens * heads * length) * (4 * (arrays - 1) + job.copies) / 1e6


def logits(job: Job, tokens: float) -> float:
    """MB of the logits of so many tokens as they come, in float32, and two more arrays; blocks of them at a time."""
    rows = min(tokens, max(8, LOGITS[job.gpu] // job.size.vocabulary))
    return rows * job.size.vocabulary * (8 + job.copies) / 1e6


def cache(job: Job, tokens: float) -> float:
    """MB of keys and values of so many tokens."""
    return tokens * job.size.layers * 2 * job.size.kv_width * job.bytes / 1e6


def read_cache(job: Job, tokens: float) -> float:
    """MB that one layer's attention takes to read the keys and values of so many tokens.

    The old ones beside the longer new ones, and where several query heads share a key and not all do, a copy for each.
    """
    size = job.size
    copied = 0 if size.kv_width in (size.queries, size.head_width) else size.queries
    return tokens * 2 * (size.kv_width + copied) * job.bytes / 1e6


def answering(job: Job, rows: float, asked: float, tokens: float) -> Memory:
    """Of answers to `rows` prompts at once: `asked` tokens of each are run together, `tokens` stay in the cache."""
    last = rows * job.size.vocabulary * job.copies / 1e6
    single = max(activations(job, rows * asked), read_cache(job, rows * tokens), last)
    return Memory(single, cache(job, rows * tokens))


def forward(job: Job, tokens: float) -> float:
    """FLOPs of a forward pass over so many tokens."""
    return 2.0 * job.size.parameters * tokens


def batched(job: Job) -> Memory:
    return Memory(activations(job, job.options.get("batch_tokens", 4096)))


@dataclass(frozen=True)
class Batch:
    """The option that says how much a stage runs at once, what `auto` is of it on a CPU, and the least there is.

    inside: the option that holds it, where it is no option of its own.
    """

    option: str
    on_cpu: int
    least: int = 1
    inside: str = ""

    def of(self, options: Mapping[str, Any]) -> Any:
        """What `options` say; None where they say nothing."""
        return (options.get(self.inside, {}) if self.inside else options).get(self.option)

    def put(self, options: Mapping[str, Any], number: int) -> dict[str, Any]:
        """`options` with `number` in its place."""
        if self.inside:
            return {**options, self.inside: {**options[self.inside], self.option: number}}
        return {**options, self.option: number}

    def on_a_cpu(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """`options` with the CPU's number where they say auto."""
        return self.put(options, self.on_cpu) if self.of(options) == AUTO else dict(options)


def tokens_at_once(on_cpu: int) -> Batch:
    """Of stages with the option batch_tokens."""
    return Batch("batch_tokens", on_cpu, least=64)


@dataclass(frozen=True)
class Stage:
    """Whose options it reads, its working memory (beside the weights), and the FLOPs of all its shards."""

    analyses: tuple[str, ...] = ()
    memory: Callable[[Job], Memory] = batched
    flops: Callable[[Job], float] = lambda job: forward(job, job.rows * ROW_TOKENS)
    whole_model: bool = True  # False: reads the weights layer by layer
    # True: a model in half precision is loaded in float32 too, on a GPU only where there is room for it.
    wide: bool = False
    batch: Batch | None = None
