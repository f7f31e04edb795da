"""Effects of ablating every single head, for one shard of the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.extract import extract
from atlas.analyses.safety_heads.queries import SHIPS, build_queries
from atlas.analyses.safety_heads.rounding import remeasured
from atlas.attention import HEADS, checked
from atlas.dtypes import HALF

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (HEADS,)


def run(task: ModelTask) -> Result:
    options = task.settled(SHIPS)
    prompts, report = build_queries(task.prompter, task.frame("dataset"), options["template"], task.limits, SHIPS)
    task.log.info("%s", report)
    asked = {**{name: options[name] for name in ("ablations", "epsilon", "max_rows")}, **task.part}
    arrays = extract(checked(task.model, *NEEDS), prompts, **asked, progress=task.progress("head ablations", "layer"))
    document = task.provenance(samples=report)
    if document["runtime"]["dtype"] in HALF and (wide := task.reloaded("float32")) is not None:
        progress = task.progress("one head a layer in float32", "ablation")
        arrays |= remeasured(checked(wide, *NEEDS), prompts, **asked, progress=progress)
    return arrays, document
