"""The order of the heads by Ships of each prompt, for the job that ablates each prompt's own strongest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.metrics import query_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    arrays, document = task.arrays("activations")
    document["metric_options"] = task.options
    ranked = query_table(arrays, task.keys, document["samples"]["ids"], task.options)
    return ranked[["ablation", "query", "layer", "head", "position"]], document
