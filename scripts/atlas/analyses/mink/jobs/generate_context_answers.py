"""Greedy answers to questions behind those that they build on, answered, for one shard of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.mink.answers import ZERO_SHOT, context_frame, context_prompts
from atlas.analyses.mink.context_batches import context_batch
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
    found, asked, dropped = context_prompts(
        task.prompter,
        table,
        task.frame("answers"),
        [kind for kind in options["prompts"] if kind != ZERO_SHOT],
        predictions,
        template=options["template"],
        system=options["system"],
        limits=task.limits,
    )
    prompts = [Prompt(*prompt) for prompt in found]
    document = task.provenance(samples={"questions": len(prompts), "dropped": dropped})
    task.log.info("%s", document["samples"])
    model = checked(task.model, *NEEDS)
    answers = generate(
        model,
        prompts,
        end_tokens(model, task.tokenizer, task.prompter.turn_ends()),
        batch_size=context_batch(predictions["batch_size"]),
        prefix=shared_beginning(prompts),
        **task.part,
        journal=task.journal([document, found]),
        progress=task.progress("answers", "batch"),
    )
    return context_frame(answers, asked, table, task.tokenizer), document
