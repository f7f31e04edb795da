"""Greedy answers of one model to the questions of a qa data set, for one shard of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.saliency.answers import token_answers
from atlas.analyses.saliency.prompts import ask, read_demonstrations
from atlas.models.architectures import read_shape
from atlas.models.folder import check_model_folder
from atlas.models.generation import Prompt, answer_ends, generate
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_frame
from atlas.results.journal import Journal
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options, folder = snakemake.params.options, snakemake.input.model
    limit = options["max_new_tokens"]
    tokenizer, table = load_tokenizer(folder), read_frame(snakemake.input.dataset)
    examples = read_demonstrations(snakemake.input.demonstrations)
    context = read_shape(folder).context
    asked, prefix, dropped = ask(
        tokenizer, table, examples, prompt=options["prompt"], context=context, max_new_tokens=limit
    )
    log.info("%d of %d questions, %d shared tokens; dropped %s", len(asked), len(table), prefix, dropped)
    model = load_model(folder, **snakemake.params.runtime)
    document = provenance(
        model=check_model_folder(Path(folder)),
        dataset=read_provenance(snakemake.input.dataset)["dataset"],
        options=options,
        runtime=describe_runtime(model),
        samples={"questions": len(asked), "of": len(table), "dropped": dropped},
    )
    prompts = [Prompt(question.number, question.ids, limit) for question in asked]
    journal = Journal(snakemake.params.journal, [document, [prompt.ids for prompt in prompts]])
    answers = generate(
        model,
        prompts,
        answer_ends(model, tokenizer, options["prompt"]),
        batch_size=options["batch_size"],
        prefix=prefix,
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        journal=journal,
        progress=progress("answers", "batch"),
    )
    write_frame(snakemake.output[0], token_answers(answers, table, tokenizer), document)
    journal.remove()
