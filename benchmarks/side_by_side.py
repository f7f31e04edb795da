"""What all benchmarks share: options, turns, ratios, peak memory, the machine's rates, one form of result."""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results/benchmarks"
if str(ROOT / "scripts") not in sys.path:
    sys.path.insert(0, str(ROOT / "scripts"))
# One row per measure; seconds and MiB are of the same work, `simple` the best simple batching, `floor` what the
# processor's rates allow for ours, `agreement` the largest difference of results (relative or as the measure says).
COLUMNS = [
    "measure", "ratio", "bar", "met", "ours_seconds", "published_seconds", "simple_seconds", "floor_seconds",
    "ours_mib", "published_mib", "agreement", "note",
]  # fmt: skip

Clock = Literal["wall", "cpu"]
Row = dict[str, Any]  # one of COLUMNS: text, numbers, a truth value, "" for nothing


def options(document: str | None, name: str, *, model: bool = True, clock: bool = True) -> argparse.ArgumentParser:
    """A parser with what the benchmarks have in common; `name` is that of their csv."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="cuda: of all variants; has no bars of speed"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.csv")
    if model:
        parser.add_argument("--model", type=Path, default=ROOT / "results/models/smollm2-135m-instruct")
    if clock:
        parser.add_argument(
            "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that others use too"
        )
    return parser


def timer(clock: Clock, device: str = "cpu") -> Callable[[], float]:
    """The clock itself: seconds on the wall, or of this process's processors; it waits for a GPU first."""
    own = time.process_time if clock == "cpu" else time.perf_counter

    def now() -> float:
        synchronise()
        return own()

    return own if device == "cpu" else now


def alternate(
    variants: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = "wall"
) -> dict[str, list[float]]:
    """{name: seconds of each round}; in every round each variant runs once, and another one begins.

    A variant that runs in another process (Worker) returns its own, as Seconds.
    """
    now, names = timer(clock), list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = now()
            own = variants[name]()
            synchronise()
            seconds[name].append(float(own) if isinstance(own, Seconds) else now() - start)
            print(f"round {turn + 1}/{rounds} {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return seconds


class Seconds(float):
    """What a variant of `alternate` took by a clock of its own."""


class Worker:
    """A variant in a process of its own for the whole run: what the other one keeps in memory neither helps nor hurts.

    target(*arguments) is called there and returns the function that answers each call of the worker.
    """

    def __init__(self, target: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, target, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self, *message: Any) -> Any:
        self._connection.send(message)
        try:
            return self._connection.recv()
        except EOFError:
            raise SystemExit("A benchmark's process ended before it answered; see above.") from None

    def end(self) -> None:
        """Let the process end."""
        self._connection.close()
        self._process.join()


def _serve(connection: Connection, target: Callable[..., Callable[..., Any]], arguments: Sequence[Any]) -> None:
    answer = target(*arguments)
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        connection.send(answer(*message))


def synchronise() -> None:
    """Wait for the GPU, where one is used."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratio(slower: Iterable[float], faster: Iterable[float]) -> float:
    """Median over rounds of slower / faster: a busy minute falls on both."""
    return statistics.median(a / b for a, b in zip(slower, faster, strict=True))


def peak_mib(device: str = "cpu") -> float:
    """Highest resident memory since `reset_peak`, in MiB; on a GPU that of its tensors."""
    import resource

    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20

    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak(device: str = "cpu") -> None:
    """Forget the peak of imports and model building where the kernel allows it (Linux)."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("cannot reset the peak: it includes imports and model building", file=sys.stderr)


# Freed memory goes back at once (glibc), so that the peak is what tensors hold; else chance decides over tens of MiB.
RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def child(file: str | Path, options: Iterable[Any], threads: int = 1, **more: str) -> Any:
    """The last line that `file` prints, read as JSON: a variant in a process of its own, `more` in its environment."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **more}
    command = [sys.executable, str(file), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def gemm_rate(
    dtype: torch.dtype,
    rows: int = 1024,
    inner: int = 576,
    columns: int = 1536,
    device: str = "cpu",
    clock: Clock = "wall",
) -> float:
    """Floating-point operations per second of a product of the size that a small model's layers have."""
    from atlas.models.rates import product_rate

    return product_rate(dtype, rows, inner, columns, device, timer(clock, device), repeats=12)


def copy_rate(device: str = "cpu", mebibytes: int = 256) -> float:
    """Bytes per second read and written by a copy that no cache holds."""
    import torch

    source = torch.zeros(mebibytes << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best(lambda: target.copy_(source), 5)


def _best(call: Callable[[], object], repeats: int = 12, clock: Clock = "wall") -> float:
    now = timer(clock)
    call()
    found = []
    for _ in range(repeats):
        synchronise()
        start = now()
        call()
        synchronise()
        found.append(now() - start)
    return min(found)


def operations(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and attention inside `call`."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def bar_on(device: str, bar: float | None) -> float | None:
    """A bar of speed or memory: they are of processors and say nothing of GPUs."""
    return bar if device == "cpu" else None


def row(measure: str, value: float | None = None, bar: float | None = None, most: bool = False, **more: Any) -> Row:
    """One row of COLUMNS; met: value is at least (with `most`: at most) the bar."""
    met = None if value is None or bar is None else bool(value <= bar if most else value >= bar)
    if set(more) - set(COLUMNS):
        raise ValueError(f"unknown columns {sorted(set(more) - set(COLUMNS))}")
    values = {"measure": measure, "ratio": value, "bar": bar, "met": met, **more}
    return {name: _short(values.get(name)) for name in COLUMNS}


def _short(value: Any) -> Any:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else value


def finish(rows: Sequence[Row], output: Path) -> int:
    """Write the rows, say them, and return the exit status: 1 where a bar is missed."""
    for found in rows:
        bar = "" if found["bar"] == "" else f" (bar {found['bar']}: {'met' if found['met'] else 'MISSED'})"
        print(", ".join(f"{k} {v}" for k, v in found.items() if v != "" and k not in ("bar", "met")) + bar)
    write(rows, output)
    return int(any(found["met"] is False for found in rows))


def write(rows: Sequence[Mapping[str, Any]], output: Path) -> None:
    """Write rows of the same keys as csv; the file is replaced in one step."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_suffix(".tmp")
    with temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, output)
