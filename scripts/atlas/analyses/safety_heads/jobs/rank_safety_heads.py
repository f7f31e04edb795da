"""The order of the heads by Ships, for the jobs that ablate the strongest; intervals they do not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.ships import ranking

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    arrays, document = task.arrays("activations")
    document["metric_options"] = task.options
    return ranking(arrays, task.options), document
