"""Log-probabilities of the scored tokens of a depth data set's texts, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.extract import extract
from atlas.analyses.mink.scored_texts import TEMPLATE, scored_texts, text_rows
from atlas.attention import LOGITS, START, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (START, LOGITS)


def run(task: ModelTask) -> Result:
    options = task.settled(TEMPLATE)
    rows = text_rows(task.frame("dataset"), task.optional_frame("answers"))
    framing = {key: options[key] for key in ("template", "system", "max_tokens")} | {"limits": task.limits}
    found = {text: scored_texts(task.prompter, rows, text, **framing) for text in options["texts"]}
    samples = {text: report for text, (_, report) in found.items()}
    task.log.info("%s", samples)
    arrays = extract(
        checked(task.model, *NEEDS),
        {text: sequences for text, (sequences, _) in found.items()},
        batch_tokens=options["batch_tokens"],
        **task.part,
        progress=task.progress("log-probabilities", "batch"),
    )
    return arrays, task.provenance(samples=samples)
