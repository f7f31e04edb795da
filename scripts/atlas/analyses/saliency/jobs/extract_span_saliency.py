"""Saliency sums of the flows between marked parts of prompts, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.flow_batches import extract_flows
from atlas.analyses.saliency.marked_prompts import marked_prompts, named_flows
from atlas.analyses.saliency.span_flows import span_flows
from atlas.analyses.saliency.span_metrics import LOSS
from atlas.attention import ATTENTION, GRADIENTS, LOGITS, START, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (ATTENTION, GRADIENTS, START, LOGITS)


def run(task: ModelTask) -> Result:
    options = task.options
    flows = named_flows(options["flows"])
    prompts, report = marked_prompts(
        task.tokenizer,
        task.frame("dataset"),
        flows,
        seed=options["seed"],
        limits=task.limits,
        unusable=task.document("dataset")["dataset"].get("unusable", {}),
    )
    task.log.info("%s", report)
    arrays = extract_flows(
        checked(task.model, *NEEDS),
        prompts,
        (),
        span_flows(flows),
        backward=[LOSS],
        sample_probe=None,
        batch_tokens=options["batch_tokens"],
        block=options["block"],
        **task.part,
        progress=task.progress("saliency of spans", "batch"),
    )
    return arrays, task.provenance(samples=report)
