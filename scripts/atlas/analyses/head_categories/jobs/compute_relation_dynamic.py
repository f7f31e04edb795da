"""Scores of heads on prompts beside those of the static map, and their correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.dynamic_metrics import dynamic_tables

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    hits, document = task.arrays("activations")
    ranks, _ = task.arrays("ranks")
    dropped = document["samples"]["dropped"]
    document["metric_options"] = {**task.options, "k": task.params["k"]}
    found = dynamic_tables(hits, ranks, task.frame("pairs"), task.params["k"], dropped, task.options)
    return {name: table.assign(**task.keys) for name, table in found.items()}, document
