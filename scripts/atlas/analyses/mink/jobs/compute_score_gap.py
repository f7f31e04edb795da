"""Score gaps with their Min-K% groups, discrepancies and judged accuracy by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.score_gaps import accuracy_table, discrepancy_table, score_gap_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options, source = task.options, task.params["answers_from"]
    table, judgements, document = task.frame("dataset"), task.frame("judgements"), task.document("judgements")
    keys = {**task.keys, "judge": document["judge"]["kind"], "answers_from": source}
    interval = {"confidence": options["confidence"], "draws": options["bootstrap"], "seed": options["seed"]}
    gaps, left_out = score_gap_table(
        table, judgements, task.frame("mink"), k_percent=options["k_percent"][0], text=task.params["text"]
    )
    discrepancy = discrepancy_table(
        table,
        judgements,
        threshold=options["threshold"],
        successor_rule=options["successors"],
        by=options["by"],
        **interval,
    )
    accuracy = accuracy_table(table, judgements, **interval)
    document.update(metric_options=options, dropped=left_out, answers_from=source)
    found = {"score_gap": gaps, "discrepancy": discrepancy, "depth_accuracy": accuracy}
    return {name: frame.assign(**keys) for name, frame in found.items()}, document
