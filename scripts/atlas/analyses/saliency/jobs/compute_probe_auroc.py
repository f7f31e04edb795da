"""The AUROC of the probe by layer, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.probe_table import table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    stored, document = task.arrays("probe")
    correct = task.frame("samples")["correct"].to_numpy(bool)[stored["number"]]
    return {"probe_auroc": table(stored, correct, document["metric_options"]["probe"], task.keys)}, document
