"""How much of each relation is lost with heads ablated, with intervals; and every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.effect_metrics import effect_table

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    answers, ranks = task.frame("answers"), task.frame("ranks")
    document = {**task.document("answers"), "metric_options": task.options}
    categories = dict(zip(ranks["relation"], ranks["category"], strict=True))
    dropped = document["samples"]["dropped"]
    effect = effect_table(answers, categories, dropped, task.keys, task.options)
    return {"relation_effect": effect, "relation_answers": answers.assign(**task.keys)}, document
