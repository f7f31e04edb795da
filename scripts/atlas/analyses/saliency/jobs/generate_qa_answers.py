"""Greedy answers of one model to the questions of a qa data set, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.answers import token_answers
from atlas.analyses.saliency.prompts import PROMPT, ask, read_demonstrations
from atlas.attention import GENERATION, checked
from atlas.models.generation import Prompt, answer_ends, generate

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result

# What the model is checked for.
NEEDS = (GENERATION,)


def run(task: ModelTask) -> Result:
    options, table = task.settled(PROMPT), task.frame("dataset")
    examples = read_demonstrations(task.inputs["demonstrations"])
    framing = {"prompt": options["prompt"], "limits": task.limits, "max_new_tokens": options["max_new_tokens"]}
    asked, prefix, dropped = ask(task.prompter, table, examples, **framing)
    task.log.info("%d of %d questions, %d shared tokens; dropped %s", len(asked), len(table), prefix, dropped)
    document = task.provenance(samples={"questions": len(asked), "of": len(table), "dropped": dropped})
    prompts = [Prompt(question.number, question.ids, options["max_new_tokens"]) for question in asked]
    model = checked(task.model, *NEEDS)
    answers = generate(
        model,
        prompts,
        answer_ends(model, task.tokenizer, options["prompt"]),
        batch_size=options["batch_size"],
        prefix=prefix,
        **task.part,
        journal=task.journal([document, [prompt.ids for prompt in prompts]]),
        progress=task.progress("answers", "batch"),
    )
    return token_answers(answers, table, task.tokenizer), document
