"""Train a truthfulness probe on the hidden states of one model and data set, out of fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.probe import probe_of
from atlas.analyses.saliency.probe_storage import arrays

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    hidden, document = task.arrays("activations")
    probes, note = probe_of(hidden, task.frame("samples"), task.options, task.keys)
    task.log.info("%s", note)
    document.update(metric_options=task.options, probe=note)
    return arrays(hidden["number"], probes), document
