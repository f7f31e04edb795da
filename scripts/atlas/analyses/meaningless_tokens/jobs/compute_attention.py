"""Average attention per position and the effect of meaningless tokens per head, from stored column sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.meaningless_tokens.metrics import effect_table, weights_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options = task.options
    arrays, document = task.arrays("activations")
    document["metric_options"] = options
    found = {
        "attention_weights": weights_table(arrays, task.keys, document["samples"], options),
        "meaningless_effect": effect_table(arrays, task.keys, document["samples"], options),
    }
    return found, document
