"""Effects of ablating every single head, for one shard of the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.extract import extract
from atlas.analyses.safety_heads.queries import SHIPS, build_queries
from atlas.attention import checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result


def run(task: ModelTask) -> Result:
    options = task.settled(SHIPS)
    prompts, report = build_queries(task.prompter, task.frame("dataset"), options["template"], task.limits, SHIPS)
    task.log.info("%s", report)
    arrays = extract(
        checked(task.model),
        prompts,
        ablations=options["ablations"],
        epsilon=options["epsilon"],
        max_rows=options["max_rows"],
        **task.part,
        progress=task.progress("head ablations", "layer"),
    )
    return arrays, task.provenance(samples=report)
