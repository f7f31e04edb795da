"""Greedy answers with the strongest heads ablated, of all prompts or of each, and random heads as control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.safety_heads.ablated_sets import answers_frame, own_sets, variants
from atlas.analyses.safety_heads.queries import ANSWERS, build_queries
from atlas.attention import EDITS, GENERATION, checked
from atlas.models.generation import end_tokens

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (EDITS, GENERATION)


def run(task: ModelTask) -> Result:
    options = task.settled(ANSWERS)
    drawn = {key: options[key] for key in ("ablations", "rank", "draws", "seed")}
    sets = variants(task.frame("ranks"), numbers=options["heads"], **drawn)
    given = (task.prompter, task.frame("dataset"), options["template"], task.limits, ANSWERS)
    prompts, report = build_queries(*given, new_tokens=options["new_tokens"])
    ranked, told = task.optional_frame("own"), {"ablations": options["ablations"], "numbers": options["heads"]}
    own = sets.iloc[:0] if ranked is None else own_sets(ranked, report["ids"], **told)
    model = checked(task.model, *NEEDS)
    texts = answers(
        model,
        task.tokenizer,
        prompts,
        list(zip(sets["ablation"], sets["heads"], strict=True)),
        own=list(zip(own["ablation"], own["heads"], strict=True)),
        epsilon=options["epsilon"],
        new_tokens=options["new_tokens"],
        max_rows=options["max_rows"],
        ends=end_tokens(model, task.tokenizer, task.prompter.turn_ends()),
        progress=task.progress("ablated answers", "batch"),
    )
    return answers_frame(pd.concat([sets, own], ignore_index=True), texts, report["ids"]), task.provenance(
        samples=report
    )
