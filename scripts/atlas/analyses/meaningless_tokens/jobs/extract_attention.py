"""Column sums of attention with and without meaningless tokens, for one shard of one data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.meaningless_tokens.extract import extract
from atlas.analyses.meaningless_tokens.prompts import TEMPLATE, build_prompts
from atlas.attention import ATTENTION, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (ATTENTION,)


def run(task: ModelTask) -> Result:
    options = task.settled(TEMPLATE)
    prompts, report = build_prompts(task.prompter, task.frame("dataset")["text"].tolist(), options, task.limits)
    task.log.info("%s", {name: value for name, value in report.items() if name != "tokens"})  # all their names are long
    progress = task.progress("attention", "batch")
    arrays = extract(
        checked(task.model, *NEEDS), prompts, batch_tokens=options["batch_tokens"], **task.part, progress=progress
    )
    return arrays, task.provenance(samples=report)
