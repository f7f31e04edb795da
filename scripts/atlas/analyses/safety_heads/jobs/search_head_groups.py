"""Greedy search for groups of heads among the strongest single heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.head_groups import search
from atlas.analyses.safety_heads.queries import SHIPS, build_queries
from atlas.attention import HEADS, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (HEADS,)


def run(task: ModelTask) -> Result:
    options = task.settled(SHIPS)
    prompts, report = build_queries(task.prompter, task.frame("dataset"), options["template"], task.limits, SHIPS)
    searched = {key: value for key, value in options.items() if key != "template"}
    groups = search(
        checked(task.model, *NEEDS),
        prompts,
        task.frame("ranks"),
        **searched,
        progress=task.progress("head groups", "step"),
    )
    return groups.assign(**task.keys), task.provenance(samples=report)
