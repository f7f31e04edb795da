"""Greedy answers of one model to the questions of a depth data set, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.answers import answers_frame, question_prompts
from atlas.analyses.mink.scored_texts import TEMPLATE
from atlas.attention import GENERATION, checked
from atlas.models.generation import Prompt, end_tokens, generate, shared_beginning

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (GENERATION,)


def run(task: ModelTask) -> Result:
    options, table = task.settled(TEMPLATE), task.frame("dataset")
    predictions = options["predictions"]
    framing = {key: options[key] for key in ("template", "system")}
    asked, dropped = question_prompts(task.prompter, table, predictions, **framing, limits=task.limits)
    prompts = [Prompt(*prompt) for prompt in asked]
    document = task.provenance(samples={"questions": len(prompts), "of": len(table), "dropped": dropped})
    task.log.info("%s", document["samples"])
    model = checked(task.model, *NEEDS)
    answers = generate(
        model,
        prompts,
        end_tokens(model, task.tokenizer, task.prompter.turn_ends()),
        batch_size=predictions["batch_size"],
        prefix=shared_beginning(prompts),
        **task.part,
        journal=task.journal([document, asked]),
        progress=task.progress("answers", "batch"),
    )
    return answers_frame(answers, table, task.tokenizer), document
