"""Saliency of the flows between marked parts by layer, with intervals over prompts, from stored sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.marked_prompts import named_flows
from atlas.analyses.saliency.span_metrics import span_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options = task.options
    arrays, document = task.arrays("activations")
    samples = document["samples"]
    table = span_table(
        arrays,
        named_flows(options["flows"]),
        task.keys,
        reduction=options["reduction"],
        heads=options["heads"],
        confidence=options["confidence"],
        dropped=samples["given"] - samples["measured"],
    )
    document.update(metric_options=options)
    return {"span_saliency": table}, document
