"""What a run will take, before it starts: jobs, minutes, memory and disk of each analysis on this machine.

The work of a job is that of planning/resources.py (operations, by the size of its model), the speed is measured once:
the products of matrices that this machine does in a second. A scheduler is asked for more (memory_mb, runtime_minutes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from atlas.planning.estimates import Job, Size
from atlas.planning.resources import STAGE_FOLDER, STAGES, gpus

START_S = 6.0  # of a job that runs a model: imports, and the checks of its model
LIGHT_S = 3.0  # of a job without a model
DISK_MB = 300  # per second, from a disk of this machine
# What a stage takes of its planned operations at the rate of the others, from the jobs of a default run on both threads
# of a busy core (the mean of the wall clock's and the processor's seconds), fitted to that one run. Texts are shorter
# than they are planned (answers), or time goes into what is not counted (logits, norms, sums of attention).
TAKES = {
    "extract_token_logprobs": 1.4,
    "generate_qa_answers": 0.3,
    "extract_exact_answers": 0.12,
    "extract_saliency": 0.6,
    "extract_attention": 0.85,
    "search_head_groups": 0.5,
    "complete_relations": 0.5,
    "extract_relation_hits": 0.7,
    "extract_head_mappings": 2.9,
    "generate_ablated": 1.25,
    "extract_sinks": 2.4,
    "extract_head_types": 3.4,
}
OTHER, DOWNLOADS = "data, tables and figures", "downloads"


@dataclass
class Known:
    """What the rules know of a plan; rules/resources.smk fills it when they are read, in the process that plans."""

    # stage -> the job of a model and data set, by wildcards
    jobs: dict[str, Callable[[Mapping[str, str]], Job]] = field(default_factory=dict)
    # model -> its size, and whether that is known (else it is a guess)
    size: Callable[[str], tuple[Size, bool]] | None = None
    cores: int = 1
    # rule, wildcards and MB (0: not known) of every job; the logger `estimate` fills it
    plan: list[tuple[str, dict[str, str], float]] = field(default_factory=list)


KNOWN = Known()


@dataclass
class Part:
    """The jobs of one analysis: how many, seconds of a core and of a GPU, and the largest."""

    jobs: int = 0
    core_s: float = 0.0
    gpu_s: float = 0.0
    longest_s: float = 0.0
    memory_mb: float = 0.0
    gpus: int = 0

    def add(self, seconds: float, threads: int, memory_mb: float, on: int) -> None:
        """One job of so many seconds; on: the GPUs that it asks for."""
        self.jobs += 1
        self.longest_s = max(self.longest_s, seconds)
        self.memory_mb = max(self.memory_mb, memory_mb)
        self.gpus = max(self.gpus, on)
        self.gpu_s += seconds * on
        self.core_s += 0 if on else seconds * threads


@dataclass
class Forecast:
    """Adds up the jobs of a plan. `rate(dtype, device)`: floating-point operations per second of one core or GPU."""

    rate: Callable[[str, str], float]
    known: Known
    parts: dict[str, Part] = field(default_factory=dict)
    models: dict[str, Size] = field(default_factory=dict)
    guessed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for job in self.known.plan:
            self.add(*job)

    def add(self, rule: str, wildcards: Mapping[str, str], memory_mb: float) -> None:
        """One job of the plan, with the memory that it asks for (0: not known)."""
        model = wildcards.get("model")
        if model and self.known.size:
            size, known = self.known.size(model)
            if not known and model not in self.guessed:
                self.guessed.append(model)
            if rule in ("download_model", "make_control"):
                self.models[model] = size
        if rule in self.known.jobs:
            job = self.known.jobs[rule](wildcards)
            seconds = self.seconds(rule, job, int(wildcards.get("shards", 1)))
            part = self.parts.setdefault(STAGE_FOLDER.get(rule, OTHER), Part())
            part.add(seconds, job.threads, memory_mb, gpus(rule, job))
        else:
            place = DOWNLOADS if rule.startswith("download_") else OTHER
            self.parts.setdefault(place, Part()).add(LIGHT_S, 1, memory_mb, 0)

    def seconds(self, stage: str, job: Job, shards: int) -> float:
        """Of one shard: its start, reading the weights, and its operations at the measured rate."""
        reading = job.size.parameters * job.size.file_bytes / 1e6 / DISK_MB
        dtype = {4: "float32", 2: "bfloat16"}[job.bytes]
        speed = self.rate(dtype, "cuda" if job.gpu else "cpu") * (1 if job.gpu else job.threads)
        return START_S + reading + TAKES.get(stage, 1.0) * STAGES[stage].flops(job) / shards / speed

    def lines(self) -> list[str]:
        """The table that a user reads, with what it does not know."""
        if not self.parts:
            return ["Nothing is left to be done."]
        order = [*dict.fromkeys(STAGE_FOLDER.values()), OTHER, DOWNLOADS]
        width = max(len(name) for name in (*self.parts, "in all"))
        lines = [f"{'':{width}}  {'jobs':>5}  {'minutes':>8}  {'longest':>8}  {'memory':>8}  GPUs"]
        for name in sorted(self.parts, key=order.index):
            part = self.parts[name]
            minutes = (part.core_s + part.gpu_s) / 60
            memory = f"{part.memory_mb / 1000:.1f} GB" if part.memory_mb else "?"
            cells = f"{part.jobs:>5}  {minutes:>8.1f}  {part.longest_s / 60:>8.1f}  {memory:>8}  {part.gpus:>4}"
            lines.append(f"{name:{width}}  {cells}")
        parts = self.parts.values()
        core, gpu = (sum(getattr(part, name) for part in parts) / 60 for name in ("core_s", "gpu_s"))
        longest = max(part.longest_s for part in parts) / 60
        lines.append(f"{'in all':{width}}  {sum(part.jobs for part in parts):>5}  {core + gpu:>8.1f}  {longest:>8.1f}")
        lines.append("")
        lines.append(
            f"About {max(longest, core / self.known.cores):.0f} minutes on {self.known.cores} cores"
            + (f", and {gpu:.0f} minutes of one GPU." if gpu else ".")
        )
        if self.models:
            stored = sum(size.parameters * size.file_bytes for size in self.models.values()) / 1e9
            lines.append(f"Models to bring in or to make: {', '.join(self.models)}; about {stored:.1f} GB of disk.")
        for model in self.guessed:
            size = f"{self.known.size(model)[0].parameters / 1e9:.1f}" if self.known.size else "?"
            lines.append(
                f"The size of {model} is not known before its download: counted as {size} billion parameters. "
                f"models.{model}.parameters tells it."
            )
        return lines
