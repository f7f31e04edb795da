"""Every benchmark of this folder, one after the other: summary.csv, summary.md and one figure.

    python benchmarks/run_all.py [--only ships min_k] [--growth] [--large] [--model FOLDER] [--device cuda]

By default sizes for two cores, within ten minutes; --large takes more layers, texts and rounds; --growth adds how cost
grows (growth.py, two minutes). Each checks its results against the published algorithm and its ratios against bars;
this exits non-zero if one is missed. Results are in results/benchmarks/: one csv per benchmark and the summary of all,
with the machine they were measured on.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from side_by_side import COLUMNS, RESULTS, ROOT, Row, copy_rate, gemm_rate, write

# benchmark -> options by default and with --large
SIZES: dict[str, tuple[list[str], list[str]]] = {
    "ships": (["--layers", "2", "--rounds", "2"], ["--layers", "30", "--rounds", "3", "--accuracy"]),
    "head_mappings": (["--layers", "2", "--heads", "3", "--repeats", "2"], ["--layers", "5", "--heads", "9", "--all"]),
    "min_k": (["--texts", "48"], ["--texts", "256"]),
    "column_statistics": (["--layers", "2"], ["--layers", "8"]),
    "saliency": (["--cases", "shared", "whole", "batch"], ["--repeats", "3"]),
    "growth": ([], ["--large"]),
}
ON_REQUEST = ("growth",)
READS_NO_MODEL = ("column_statistics",)
READS_HARMBENCH = ("ships", "growth")


def run(name: str, options: Sequence[str], threads: int) -> tuple[list[Row], int, float]:
    """(rows of the benchmark's csv, exit status, seconds)."""
    path = RESULTS / f"{name}.csv"
    path.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *options, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    start = time.perf_counter()
    status = subprocess.run(command, env=environment, check=False).returncode
    rows: list[Row] = []
    if path.exists():
        with path.open() as handle:
            rows = list(csv.DictReader(handle))
    return rows, status, time.perf_counter() - start


def machine(threads: int) -> str:
    """One line that says what was measured on, and its rates."""
    import torch

    torch.set_num_threads(threads)
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    rates = ", ".join(f"{name} {gemm_rate(getattr(torch, name)) / 1e9:.0f} GFLOP/s" for name in ("float32", "bfloat16"))
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "; no GPU"
    copy = f"copy {copy_rate() / 1e9:.1f} GB/s"
    return f"{cpu}, {os.cpu_count()} cores, {threads} thread(s): {rates}, {copy}{gpu}; torch {torch.__version__}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def markdown(rows: Sequence[Row], where: str) -> str:
    """The rows as a table, without empty columns, under a line on the machine."""
    shown = [name for name in COLUMNS if any(found[name] != "" for found in rows)]
    lines = ["# Benchmarks", "", where, "", f"| {' | '.join(shown)} |", f"|{' --- |' * len(shown)}"]
    lines += [f"| {' | '.join(str(found[name]) for name in shown)} |" for found in rows]
    return "\n".join(lines) + "\n"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Seconds of each measure: published, simple batching, ours and the floor, relative to ours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import StrMethodFormatter

    kinds = {
        "published_seconds": ("published way", "#D55E00", "s"),
        "simple_seconds": ("simple batching, bare forward", "#E69F00", "^"),
        "ours_seconds": ("this workflow", "#0072B2", "o"),
        "floor_seconds": ("floor", "#000000", "D"),
    }
    timed = [
        found for found in rows if found["ours_seconds"] and (found["published_seconds"] or found["simple_seconds"])
    ]
    timed = list({tuple(found[kind] for kind in kinds): found for found in reversed(timed)}.values())[::-1]
    if not timed:
        return
    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.35 * len(timed)), layout="constrained")
    for kind, (label, colour, marker) in kinds.items():
        points = [(float(f[kind]) / float(f["ours_seconds"]), i) for i, f in enumerate(timed) if f[kind] != ""]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=label, markersize=7, linestyle="none")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylim(-0.7, len(timed) - 0.3)
    axes.set_yticks(range(len(timed)), [found["measure"] for found in timed])
    axes.invert_yaxis()
    axes.set_xlabel("time relative to this workflow")
    axes.grid(axis="x", linewidth=0.3)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    for suffix in ("pdf", "svg", "png"):
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix)
        figure.savefig(path.with_suffix(f".{suffix}"), metadata=metadata, dpi=200)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name in SIZES if name not in ON_REQUEST]
    parser.add_argument("--only", nargs="+", choices=list(SIZES), default=usual)
    parser.add_argument("--growth", action="store_true", help="also how cost grows with tokens, prompts, heads, shards")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--model", type=Path, default=ROOT / "results/models/smollm2-135m-instruct")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="cuda: without bars of speed and memory"
    )
    arguments = parser.parse_args()
    names = list(dict.fromkeys([*arguments.only, *(ON_REQUEST if arguments.growth else ())]))
    needed = [] if set(names) <= set(READS_NO_MODEL) else [arguments.model]
    needed += [ROOT / "results/datasets/harmbench.parquet"] if set(names) & set(READS_HARMBENCH) else []
    if missing := [path for path in needed if not path.exists()]:
        sys.exit(f"{missing[0]} does not exist; make it with `snakemake --cores 2 figures/safety_heads` first.")
    rows: list[Row] = []
    missed: list[str] = []
    for name in names:
        options = [*SIZES[name][arguments.large], *(["--device", arguments.device] if name != "growth" else [])]
        options += [] if name in READS_NO_MODEL else ["--model", str(arguments.model)]
        print(f"== {name} {' '.join(options)}", flush=True)
        found, status, seconds = run(name, options, arguments.threads)
        print(f"   {seconds:.0f} s", flush=True)
        rows += found
        missed += [name] if status else []
    if rows:
        write(rows, RESULTS / "summary.csv")
        (RESULTS / "summary.md").write_text(markdown(rows, machine(arguments.threads)))
        draw(rows, RESULTS / "summary")
    if missed:
        print(f"bars missed or failed: {', '.join(missed)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
