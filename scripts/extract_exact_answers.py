"""Judge a model's answers, choose the saliency sample, and find exact question and answer tokens."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.prompts import ask, ask_exact, read_demonstrations
from atlas.analyses.saliency.samples import judge, sample_rows, select
from atlas.analyses.saliency.words import read_word_list
from atlas.models.architectures import read_shape
from atlas.models.generation import Prompt, answer_ends, generate
from atlas.models.loading import load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_frame
from atlas.results.journal import Journal
from job import job, progress

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options, folder = snakemake.params.options, snakemake.input.model
    limit = options["max_new_tokens"]
    tokenizer, table = load_tokenizer(folder), read_frame(snakemake.input.dataset)
    examples = read_demonstrations(snakemake.input.demonstrations)
    framing = {"prompt": options["prompt"], "context": read_shape(folder).context, "max_new_tokens": limit}
    asked, prefix, dropped = ask(tokenizer, table, examples, **framing)
    judged, report = judge(
        tokenizer,
        table,
        asked,
        read_frame(snakemake.input.answers),
        match=options["match"],
        stop_words=read_word_list(snakemake.input.stop_words),
    )
    chosen, weight = select([item.span is not None for item in judged], options["samples"], options["seed"])
    wrong = [item for item, picked in zip(judged, chosen, strict=True) if picked and item.span is None]
    questions, shared = [], 0
    if options["self_extraction"]:
        questions, shared = ask_exact(tokenizer, wrong, table, examples, **framing)
    document, replies = read_provenance(snakemake.input.answers), {}
    if questions:
        prompts = [Prompt(question.number, question.ids, limit) for question in questions]
        model = load_model(folder, **snakemake.params.runtime)
        journal = Journal(snakemake.params.journal, [document, options, [prompt.ids for prompt in prompts]])
        answers = generate(
            model,
            prompts,
            answer_ends(model, tokenizer, options["prompt"]),
            batch_size=options["batch_size"],
            prefix=shared,
            journal=journal,
            progress=progress("exact answers", "batch"),
        )
        replies = {answer.number: tokenizer.decode(answer.ids, skip_special_tokens=True) for answer in answers}
        journal.remove()
    samples = sample_rows(judged, chosen, weight, replies, table, prefix, options["seed"])
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
    log.info("%s", document["samples"])
    write_frame(snakemake.output[0], samples, document)
