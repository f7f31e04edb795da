"""Min-K% and Min-K%++ per question and graph, and their trend over depths, from stored log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.depth_graph import predecessors_by_depth
from atlas.analyses.mink.metrics import graph_table, mink_table, trend_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options, table = task.options, task.frame("dataset")
    arrays, document = task.arrays("activations")
    samples = document["samples"]
    mink, short = mink_table(
        arrays,
        table,
        task.keys,
        k_percent=options["k_percent"],
        min_tokens=options["min_tokens"],
        template=document["options"]["template"],
        dtype=document["runtime"]["dtype"],
    )
    dropped = {text: {"under min_tokens": short.get(text, 0), **report["dropped"]} for text, report in samples.items()}
    by_graph = graph_table(mink, table)
    trend = trend_table(
        mink,
        by_graph,
        {text: sum(reasons.values()) for text, reasons in dropped.items()},
        average=options["average"],
        confidence=options["confidence"],
        draws=options["bootstrap"],
        seed=options["seed"],
    )
    trend["predecessors"] = trend["depth"].map(predecessors_by_depth(table))
    document.update(metric_options=options, dropped=dropped)
    return {"mink": mink, "mink_graphs": by_graph, "mink_trend": trend}, document
