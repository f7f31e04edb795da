"""Keep the pairs whose sides are one token each for this model's tokenizer, and report what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.pairs import single_token_pairs
from atlas.models.folder import check_model_folder
from atlas.results.documents import provenance

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result


def run(task: ModelTask) -> Result:
    options = task.options
    pairs, report = single_token_pairs(
        task.frame("dataset"),
        task.tokenizer,
        task.limits,
        leading_space=options["leading_space"],
        minimum=options["minimum_pairs"],
        choice=task.document("dataset")["options"],
    )
    task.log.info("\n%s", report.to_string())
    document = provenance(options=options, model=check_model_folder(task.folder), dataset=task.dataset())
    return {"pairs": pairs, "report": report.assign(**task.keys)}, document
