"""Refusal rates of answers that were generated with heads ablated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.ablation_effect import effect_table, read_phrases

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    phrases = read_phrases(Path(task.inputs["phrases"]))
    document = {**task.document("answers"), "metric_options": task.options, "phrases": phrases}
    effect = effect_table(task.frame("answers"), phrases, task.keys, task.options["confidence"])
    return {"ablation_effect": effect}, document
