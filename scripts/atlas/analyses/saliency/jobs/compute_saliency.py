"""Saliency per sample, layer and head, and whether it falls into two groups, from stored sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.metrics import check_probe, computed, tables
from atlas.analyses.saliency.mixture import mixture_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options = task.options
    arrays, document = task.arrays("activations")
    stored, _ = task.arrays("probe")
    check_probe(arrays, stored)
    losses = computed(arrays, options["loss"], stored)
    layer = int(stored["layer"])
    found = tables(arrays, task.frame("samples"), losses, options, task.keys, layer)
    found["saliency_mixture"] = mixture_table(
        found["saliency"], confidence=options["confidence"], draws=options["bootstrap"], seed=options["seed"]
    )
    document.update(metric_options=options, probe_layer=layer)
    return found, document
