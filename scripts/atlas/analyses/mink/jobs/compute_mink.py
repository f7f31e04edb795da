"""Min-K% and Min-K%++ per question and graph, and their trend over depths, from stored log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.metrics import graph_table, mink_table, trend_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options, table = task.options, task.frame("dataset")
    arrays, document = task.arrays("activations")
    mink, short = mink_table(
        arrays,
        table,
        task.keys,
        k_percent=options["k_percent"],
        min_tokens=options["min_tokens"],
        template=document["options"]["template"],
        dtype=document["runtime"]["dtype"],
    )
    by_graph = graph_table(mink, table)
    trend = trend_table(
        mink,
        by_graph,
        short,
        average=options["average"],
        confidence=options["confidence"],
        draws=options["bootstrap"],
        seed=options["seed"],
    )
    document.update(metric_options=options, dropped={text: {"under min_tokens": n} for text, n in short.items()})
    return {"mink": mink, "mink_graphs": by_graph, "mink_trend": trend}, document
