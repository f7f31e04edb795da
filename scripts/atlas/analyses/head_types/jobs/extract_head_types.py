"""Scores of the head types on random sequences that stand twice, for one shard of the sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.beginnings import beginning
from atlas.analyses.head_types.extract import head_scores, pool, repeated_sequences
from atlas.attention import ATTENTION, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (ATTENTION,)


def run(task: ModelTask) -> Result:
    options = task.options
    start = beginning(task.tokenizer, options["bos"], task.wildcards["model"], "head_types")
    texts = task.frame("dataset")["text"].tolist() if options["tokens"] == "text" else None
    ids = repeated_sequences(
        pool(task.tokenizer, task.limits, texts),
        length=options["length"],
        number=options["sequences"],
        start=start,
        seed=options["seed"],
        limits=task.limits,
    )
    arrays = head_scores(
        checked(task.model, *NEEDS),
        ids,
        options["length"],
        batch_tokens=options["batch_tokens"],
        **task.part,
        progress=task.progress("head types", "batch"),
    )
    return arrays, task.provenance(options={**options, "bos": bool(start)}, samples={"start": len(start)})
