"""Generalized Ships of every head with intervals, and the KL divergence of every prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.metrics import head_table, query_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options = task.options
    arrays, document = task.arrays("activations")
    document["metric_options"] = options
    samples = document["samples"]
    dropped = samples["of"] - samples["prompts"]
    dtype, progress = document["runtime"]["dtype"], task.progress("bootstrap", "draw")
    found = {
        "safety_heads": head_table(arrays, task.keys, dropped, options, dtype, progress),
        "safety_queries": query_table(arrays, task.keys, samples["ids"], options),
    }
    return found, document
