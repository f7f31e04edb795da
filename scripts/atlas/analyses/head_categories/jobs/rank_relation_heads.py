"""The direct scores of all heads on all relations, for jobs that run a model; the null they do not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.implementing import direct_scores

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    ranks, document = task.arrays("activations")
    document["metric_options"] = {"k": task.params["k"]}
    return direct_scores(ranks, task.frame("pairs"), task.params["k"]), document
