"""Log-probabilities of the texts of a labelled collection, as they stand and in lower case, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.extract import extract
from atlas.analyses.mink.membership import LOWERCASE, TEXT
from atlas.analyses.mink.scored_texts import marked_texts
from atlas.attention import LOGITS, START, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for: as for Min-K% by depth, so that a model has both or neither.
NEEDS = (START, LOGITS)


def run(task: ModelTask) -> Result:
    options, texts = task.options, task.frame("dataset")["text"]
    asked = {TEXT: list(texts)} | ({LOWERCASE: [text.lower() for text in texts]} if options["lowercase"] else {})
    found = {
        kind: marked_texts(
            task.tokenizer,
            [(number, [(text, True)], True) for number, text in enumerate(listed)],
            kind,
            block="membership",
            max_tokens=options["max_tokens"],
            limits=task.limits,
        )
        for kind, listed in asked.items()
    }
    samples = {kind: report for kind, (_, report) in found.items()}
    task.log.info("%s", samples)
    arrays = extract(
        checked(task.model, *NEEDS),
        {kind: sequences for kind, (sequences, _) in found.items()},
        batch_tokens=options["batch_tokens"],
        **task.part,
        progress=task.progress("log-probabilities", "batch"),
    )
    return arrays, task.provenance(samples=samples)
