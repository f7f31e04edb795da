"""Saliency sums of question-to-answer flow, for one shard of the answered questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.answered_samples import answered_samples
from atlas.analyses.saliency.extract import extract, usable
from atlas.attention import ATTENTION, GRADIENTS, START, STATES, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (ATTENTION, GRADIENTS, START, STATES)


def run(task: ModelTask) -> Result:
    options = task.options
    samples, prefix = answered_samples(task.frame("samples"))
    stored, _ = task.arrays("probe")
    losses, probe = usable(stored, samples, options["loss"])
    task.log.info("%d samples behind %d shared tokens, losses %s", len(samples), len(prefix), losses)
    arrays = extract(
        checked(task.model, *NEEDS),
        samples,
        prefix,
        losses=losses,
        sample_probe=probe,
        batch_tokens=options["batch_tokens"],
        block=options["block"],
        **task.part,
        progress=task.progress("saliency", "batch"),
    )
    document = task.document("samples")
    return arrays, task.provenance(
        dataset=document["dataset"],
        options={**options, "computed": losses},
        samples={"measured": len(samples), "prefix_tokens": len(prefix)},
        answers={key: document.get(key) for key in ("options", "samples", "chat")},
    )
