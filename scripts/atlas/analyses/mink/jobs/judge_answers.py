"""Judged correctness of one model's answers to a depth data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.answers import ZERO_SHOT, all_answers
from atlas.analyses.mink.judges import judge
from atlas.results.documents import provenance

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    answers, settings = task.optional_frame("answers"), task.params["judge"]
    answers = None if answers is None else all_answers(answers, task.optional_frame("context"))
    judgements = judge(
        task.frame("dataset"),
        answers,
        settings,
        model=task.wildcards["model"],
        cache=task.params["cache"],
        progress=task.progress("judge", "answer"),
    )
    judgements["prompt"] = ZERO_SHOT if answers is None else answers["prompt"].to_numpy()
    dataset = task.document("dataset")["dataset"]
    document = provenance(dataset=dataset) if answers is None else task.document("answers")
    if task.inputs.get("context"):
        document = {**document, "context": task.document("context")["samples"]}
    if unscored := judgements["reason"].value_counts().to_dict():
        task.log.info("answers without a score: %s", unscored)
        document = {**document, "unscored": unscored}
    return judgements, {**document, "judge": settings}
