"""Sink heads and sink rates from stored attention per position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.sinks.metrics import heads_table, norms_table, profile_table, rates_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    arrays, document = task.arrays("activations")
    document["metric_options"] = task.options
    dropped = {kind: sum(reasons.values()) for kind, reasons in document["samples"]["dropped"].items()}
    found = {
        "sinks": heads_table(arrays, task.keys, task.options),
        "sink_rates": rates_table(arrays, task.keys, dropped, task.options),
        "sink_profile": profile_table(arrays, task.keys, task.options),
        "sink_norms": norms_table(arrays, task.keys, task.options),
    }
    return {name: frame.assign(bos=document["options"]["bos"]) for name, frame in found.items()}, document
