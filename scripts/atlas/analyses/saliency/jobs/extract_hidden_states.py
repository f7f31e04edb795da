"""Hidden states of answered questions at the position that the probe reads, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.answered_samples import answered_samples
from atlas.analyses.saliency.hidden_states import extract
from atlas.attention import START, STATES, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (START, STATES)


def run(task: ModelTask) -> Result:
    samples, prefix = answered_samples(task.frame("samples"))
    task.log.info("%d samples behind %d shared tokens", len(samples), len(prefix))
    progress = task.progress("hidden states", "batch")
    tokens = task.options["batch_tokens"]
    arrays = extract(checked(task.model, *NEEDS), samples, prefix, batch_tokens=tokens, **task.part, progress=progress)
    counts = {"measured": len(samples), "prefix_tokens": len(prefix)}
    return arrays, task.provenance(dataset=task.dataset("samples"), samples=counts)
