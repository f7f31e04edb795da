"""What the jobs of a run took, put together from Snakemake's benchmark files and the summaries in the jobs' logs."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

# Prefix of a rule's name -> stage, in the order of the data flow.
STAGES = {
    "download": "download",
    "copy": "download",
    "prepare": "data",
    "select": "extract",
    "extract": "extract",
    "generate": "extract",
    "search": "extract",
    "gather": "metrics",
    "train": "metrics",
    "judge": "metrics",
    "compute": "metrics",
    "rank": "metrics",
    "join": "metrics",
    "compare": "metrics",
    "aggregate": "aggregate",
}
_KEYS = ["stage", "rule", "model", "dataset"]
_SHARD = re.compile(r"(\d+)-of-(\d+)$")
_SUMMARY = " summary "


def gather(
    benchmarks: str | Path, logs: str | Path, models: Collection[str], datasets: Collection[str]
) -> pd.DataFrame:
    """The frame of table `costs`: one row per rule, model and data set, over all jobs that the run still consists of.

    benchmarks, logs: folders with one file per job under the same names (.tsv, .log). models, datasets: keys of the
    configuration; files of others are left over from earlier configurations and do not count, nor do shards of an
    earlier number of shards.
    """
    jobs = [
        job
        for path in sorted(Path(benchmarks).rglob("*.tsv"))
        if (job := _job(path, Path(benchmarks), Path(logs), models, datasets)) is not None
    ]
    columns = [*_KEYS, "part", "shards", "time", "seconds", "cpu_seconds", "memory_mib", "rows", "row_seconds"]
    frame = pd.DataFrame(jobs, columns=[*columns, "unit", "device", "device_mib"]).sort_values("time", kind="stable")
    newest = frame.groupby([*_KEYS, "part"])["shards"].transform("last")
    return _summed(frame[frame["shards"] == newest])


def _job(
    path: Path, benchmarks: Path, logs: Path, models: Collection[str], datasets: Collection[str]
) -> dict[str, Any] | None:
    """One file as a row; None for what belongs to no model or data set of the configuration."""
    rule, *keys = path.relative_to(benchmarks).with_suffix("").parts
    shard = _SHARD.match(keys[-1])
    if shard:
        keys.pop()
    model = keys[0] if keys and keys[0] in models else ""
    dataset = next((key for key in keys[bool(model) :] if key in datasets), "")
    of_the_whole_run = rule == "download_package" or rule.startswith("aggregate_")
    if not (model or of_the_whole_run or (dataset and len(keys) == 1)):
        return None
    summary = _summary(logs / path.relative_to(benchmarks).with_suffix(".log"))
    measured = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).mean(numeric_only=True)
    return {
        "stage": STAGES.get(rule.split("_")[0], "extract"),
        "rule": rule,
        "model": model,
        "dataset": dataset,
        "part": "/".join(key for key in keys if key not in (model, dataset)),
        "shards": int(shard[2]) if shard else 1,
        "time": path.stat().st_mtime_ns,
        "seconds": measured.get("s"),
        "cpu_seconds": measured.get("cpu_time"),
        # Snakemake samples and misses the peaks of short jobs; what a job says at its end is exact, but its own alone.
        "memory_mib": max(summary.pop("peak_mib") or 0, measured.get("max_rss", 0)),
        **summary,
    }


def _summary(path: Path) -> dict[str, Any]:
    """What a job's log says at its end; nothing for a log that is gone or of an earlier version."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = json.loads(lines[-1].split(_SUMMARY, 1)[1]) if lines and _SUMMARY in lines[-1] else {}
    return {name: found.get(name) for name in ("rows", "row_seconds", "unit", "peak_mib", "device", "device_mib")}


def _summed(frame: pd.DataFrame) -> pd.DataFrame:
    """Jobs of one rule, model and data set together: times and rows add up, memory is that of the largest job."""
    order = {stage: number for number, stage in enumerate(dict.fromkeys(STAGES.values()))}
    # A job whose result another one made has no rows, and says neither of what nor on which device.
    frame = frame.iloc[(frame["rows"].fillna(0) == 0).argsort(kind="stable")]
    total = frame.groupby(_KEYS, as_index=False).agg(
        jobs=("seconds", "size"),
        seconds=("seconds", "sum"),
        seconds_longest=("seconds", "max"),
        cpu_seconds=("cpu_seconds", "sum"),
        memory_mib=("memory_mib", "max"),
        rows=("rows", "sum"),
        row_seconds=("row_seconds", "sum"),
        unit=("unit", "first"),
        device=("device", "first"),
        device_mib=("device_mib", "max"),
    )
    measured = total["row_seconds"].where(total["row_seconds"] > 0)
    total = total.assign(rows_per_second=total["rows"] / measured).drop(columns="row_seconds")
    total = total.fillna({"unit": "", "device": "", "rows": 0, "device_mib": 0})
    position = total["stage"].map(order)
    return total.iloc[position.argsort(kind="stable")].reset_index(drop=True)
