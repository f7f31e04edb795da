"""Scores of every head on every relation, their null, and the category of every head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.metrics import blank_rows, categories_table, relation_scores
from atlas.analyses.head_categories.relation_names import check_names

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    options, given = task.options, task.params["k"]
    ranks, document = task.arrays("activations")
    document["metric_options"] = {**options, "k": given}
    check_names(task.params["named"], task.frame("relations")["relation"], "analyses.head_categories.k")
    pairs = task.frame("pairs")
    k = {relation: given.get(relation, given["default"]) for relation in pairs["relation"].unique()}
    scores = relation_scores(ranks, pairs, k, draws=options["permutations"], seed=options["seed"])
    categories = categories_table(scores, tau=options["tau"], alpha=options["alpha"], draws=options["permutations"])
    if warning := categories["warning"].iloc[-1]:
        task.log.warning("analyses.head_categories.permutations: %s.", warning)
    scores, categories = blank_rows(scores, categories, int(ranks["depth"]))
    state = {"first_state": document["options"]["first_state"]}
    found = {"head_relations": scores.assign(**task.keys), "head_categories": categories.assign(**task.keys, **state)}
    return found, document
