"""Previous-token, duplicate-token and induction scores from stored scores per sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_types.metrics import types_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    arrays, document = task.arrays("activations")
    document["metric_options"] = task.options
    told = document["options"]
    start = document["samples"]["start"]
    frame = types_table(arrays, task.keys, length=told["length"], start=start, options=task.options)
    return {"head_types": frame.assign(**{name: told[name] for name in ("tokens", "length", "bos")})}, document
