"""Answers to the prompts of every relation, with the heads that implement it ablated and with others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.causal import Completing
from atlas.analyses.head_categories.completions import completions, unasked
from atlas.analyses.head_categories.relation_effect import relation_answers
from atlas.analyses.head_categories.relation_names import check_names
from atlas.attention import EDITS, GENERATION, checked
from atlas.errors import AtlasError

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (EDITS, GENERATION)


def run(task: ModelTask) -> Result:
    options, pairs = task.options, task.frame("pairs")
    check_names(task.params["named"], task.frame("relations")["relation"], "analyses.relation_effect.templates")
    asked, dropped = {}, {}
    for relation, rows in pairs.groupby("relation", sort=True):
        found, dropped[str(relation)] = completions(task.tokenizer, rows, options, task.limits)
        if found:
            asked[str(relation)] = found
        else:
            task.log.warning("relation %s is left out: %s", relation, unasked(dropped[str(relation)]))
    if not asked:
        why = "; ".join(f"{relation}: {unasked(lost)}" for relation, lost in dropped.items())
        raise AtlasError(f"analyses.relation_effect.templates: no relation can be asked for. {why}.")
    prompts = [one.ids for some in asked.values() for one in some]
    told = {name: options[name] for name in ("positions", "ablation", "max_rows")}
    answers = relation_answers(
        Completing(checked(task.model, *NEEDS), prompts, **told),
        task.tokenizer,
        asked,
        task.frame("ranks"),
        options,
        task.progress("relations with heads ablated", "relation"),
    )
    samples = {"prompts": {relation: len(some) for relation, some in asked.items()}, "dropped": dropped}
    return answers, task.provenance(samples=samples)
