"""Compare the measures of one model's heads in pairs: rank correlations and overlaps of top sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.heads.measures import measures
from atlas.analyses.heads.overlap import overlap_table
from atlas.results.documents import provenance

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    """params.analyses: those that the measures come from."""
    options, known = task.options, measures(task.params["analyses"])
    frame = overlap_table(
        task.frame("heads"),
        {name: known[name] for name in options["metrics"]},
        top=options["top"],
        draws=options["bootstrap"],
        confidence=options["confidence"],
        seed=options["seed"],
    )
    sources = {task.inputs["heads"]: task.document("heads")}
    return {"head_overlap": frame}, provenance(options=options, sources=sources)
