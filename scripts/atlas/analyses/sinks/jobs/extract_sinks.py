"""Attention received per position for natural, random and repeated input, for one shard of the sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.beginnings import beginning
from atlas.analyses.sinks.extract import column_means, sequences
from atlas.attention import ATTENTION, checked

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (ATTENTION,)


def run(task: ModelTask) -> Result:
    texts = task.frame("dataset")["text"].tolist()
    start = beginning(task.tokenizer, task.options["bos"], task.wildcards["model"], "sinks")
    options = {**task.options, "bos": bool(start)}
    arrays, dropped, rows = {}, {}, {}
    for kind in options["inputs"]:
        rows[kind], dropped[kind] = sequences(
            kind,
            task.tokenizer,
            texts,
            length=options["length"],
            number=options["sequences"],
            start=start,
            seed=options["seed"],
            limits=task.limits,
        )
    model = checked(task.model, *NEEDS)
    for kind, ids in rows.items():
        progress = task.progress(kind, "batch")
        found = column_means(model, ids, batch_tokens=options["batch_tokens"], **task.part, progress=progress)
        arrays.update({f"{kind}.{name}": array for name, array in found.items()})
    return arrays, task.provenance(options=options, samples={"dropped": dropped})
