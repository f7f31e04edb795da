"""The answers of one data set as a table, and what was dropped; a control has those of its base."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.answer_tables import answers_table, dropped_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    source, document = task.params["answers_from"], task.document("samples")
    counts = document["samples"]
    found = {
        "qa_answers": answers_table(task.frame("samples"), task.keys, source),
        "qa_dropped": dropped_table(counts["dropped"], counts["questions"], task.keys, source),
    }
    return found, document
