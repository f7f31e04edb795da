"""Score gaps with their Min-K% groups, discrepancies and judged accuracy by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from atlas.analyses.mink.score_gaps import ZERO_SHOT, accuracy_table, discrepancy_table, judged_as, score_gap_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options, source = task.options, task.params["answers_from"]
    table, judgements, document = task.frame("dataset"), task.frame("judgements"), task.document("judgements")
    keys = {**task.keys, "judge": document["judge"]["kind"], "answers_from": source}
    interval = {"confidence": options["confidence"], "draws": options["bootstrap"], "seed": options["seed"]}
    gaps, left_out = score_gap_table(
        table,
        judged_as(table, judgements, ZERO_SHOT),
        task.frame("mink"),
        k_percent=options["k_percent"][0],
        text=task.params["text"],
    )
    tables: dict[str, list[pd.DataFrame]] = {"discrepancy": [], "depth_accuracy": []}
    for prompt in judgements["prompt"].unique():
        judged = judged_as(table, judgements, prompt)
        discrepancy = discrepancy_table(
            table,
            judged,
            threshold=options["threshold"],
            successor_rule=options["successors"],
            by=options["by"],
            **interval,
        )
        tables["discrepancy"].append(discrepancy.assign(prompt=prompt))
        tables["depth_accuracy"].append(accuracy_table(table, judged, **interval).assign(prompt=prompt))
    document.update(metric_options=options, dropped=left_out, answers_from=source)
    found = {"score_gap": gaps} | {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    return {name: frame.assign(**keys) for name, frame in found.items()}, document
