"""Generalized Ships of every head with intervals, and the KL divergence of every prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.metrics import head_table, query_table, replicates_of

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options = task.options
    arrays, document = task.arrays("activations")
    document["metric_options"] = options
    samples = document["samples"]
    dropped = samples["of"] - samples["prompts"]
    dtype = document["runtime"]["dtype"]
    replicates = replicates_of(arrays, options, task.progress("bootstrap", "draw"))
    found = {
        "safety_heads": head_table(arrays, task.keys, dropped, options, dtype, replicates),
        "safety_queries": query_table(arrays, task.keys, samples["ids"], options),
        # What claims over many heads at once need, and no other job draws again.
        "resamples": {name: drawn.astype("float32") for name, drawn in replicates.items()},
    }
    return found, document
