"""Judge a model's answers, choose the saliency sample, and find exact question and answer tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.saliency.prompts import PROMPT, Asked, ask, ask_exact, read_demonstrations
from atlas.analyses.saliency.samples import judge, sample_rows, select
from atlas.analyses.saliency.words import read_word_list
from atlas.attention import GENERATION, checked
from atlas.data.tokens import texts_of
from atlas.errors import AtlasError
from atlas.models.generation import Prompt, answer_ends, generate

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Document, Result

# What the model is checked for.
NEEDS = (GENERATION,)


def run(task: ModelTask) -> Result:
    options, table, document = task.settled(PROMPT), task.frame("dataset"), task.document("answers")
    examples = read_demonstrations(task.inputs["demonstrations"])
    framing = {"prompt": options["prompt"], "limits": task.limits, "max_new_tokens": options["max_new_tokens"]}
    asked, prefix, dropped = ask(task.prompter, table, examples, **framing)
    if task.prompter.record() != document.get("chat"):
        raise AtlasError(
            f"{task.inputs['answers']} holds answers to another rendering of the model's chat template; delete it and "
            "run again."
        )
    stop_words = read_word_list(task.inputs["stop_words"])
    answers = task.frame("answers")
    judged, report = judge(task.tokenizer, table, asked, answers, match=options["match"], stop_words=stop_words)
    chosen, weight = select([item.span is not None for item in judged], options["samples"], options["seed"])
    wrong = [item for item, picked in zip(judged, chosen, strict=True) if picked and item.span is None]
    questions: list[Asked] = []
    shared = 0
    if options["self_extraction"]:
        questions, shared = ask_exact(task.prompter, wrong, table, examples, **framing)
    replies = _replies(task, questions, shared, document) if questions else {}
    samples = sample_rows(judged, chosen, weight, replies, table, prefix, options["seed"])
    if chat := task.prompter.record():
        document["chat"] = chat
    document["options"] = {**document["options"], **options}
    document["samples"] = {
        "questions": len(table),
        "usable": len(samples),
        "correct": int(samples["correct"].sum()),
        "chosen": int(samples["chosen"].sum()),
        "asked_for_exact_answer": len(questions),
        "lost_spans": report["lost_spans"],
        "dropped": {**document["dataset"].get("unusable", {}), **dropped, **report["dropped"]},
    }
    task.log.info("%s", document["samples"])
    return samples, document


def _replies(task: ModelTask, questions: list[Asked], shared: int, document: Document) -> dict[int, str]:
    """{number of a row: what the model gives as the exact answer inside its own}."""
    options = task.options
    prompts = [Prompt(question.number, question.ids, options["max_new_tokens"]) for question in questions]
    model = checked(task.model, *NEEDS)
    answers = generate(
        model,
        prompts,
        answer_ends(model, task.tokenizer, options["prompt"]),
        batch_size=options["batch_size"],
        prefix=shared,
        journal=task.journal([document, options, [prompt.ids for prompt in prompts]]),
        progress=task.progress("exact answers", "batch"),
    )
    texts = texts_of(task.tokenizer, [answer.ids for answer in answers])
    return {answer.number: text for answer, text in zip(answers, texts, strict=True)}
