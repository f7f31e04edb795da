"""Scores of membership of every text, and how well each tells members from others, from stored log-probabilities."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from atlas.analyses.mink.membership import membership_table, score_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options, table = task.options, task.frame("dataset")
    arrays, document = task.arrays("activations")
    reference = task.arrays("reference")[0] if task.inputs.get("reference") else None
    scores, short = score_table(
        arrays,
        table,
        task.keys,
        k_percent=options["k_percent"],
        min_tokens=options["min_tokens"],
        reference=reference,
    )
    membership = membership_table(
        scores,
        texts=len(table),
        max_fpr=options["max_fpr"],
        confidence=options["confidence"],
        draws=options["bootstrap"],
        seed=options["seed"],
        reference=task.params["reference"],
        dtype=document["runtime"]["dtype"],
    )
    dropped = {
        text: {"under min_tokens": short if text == "text" else 0, **report["dropped"]}
        for text, report in document["samples"].items()
    }
    # Other builds of zlib compress otherwise.
    document.update(metric_options=options, dropped=dropped, zlib=zlib.ZLIB_RUNTIME_VERSION)
    return {"membership": membership, "membership_scores": scores}, document
