"""Greedy answers of one model to the questions of a depth data set, for one shard of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.mink.answers import answers_frame, question_prompts
from atlas.models.folder import check_model_folder
from atlas.models.generation import Prompt, end_tokens, generate, shared_beginning
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_frame
from atlas.results.journal import Journal
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    predictions = options["predictions"]
    tokenizer = load_tokenizer(snakemake.input.model)
    table = read_frame(snakemake.input.dataset)
    asked = question_prompts(tokenizer, table, predictions, template=options["template"], system=options["system"])
    prompts = [Prompt(*prompt) for prompt in asked]
    model = load_model(snakemake.input.model, **snakemake.params.runtime)
    document = provenance(
        model=check_model_folder(Path(snakemake.input.model)),
        dataset=read_provenance(snakemake.input.dataset)["dataset"],
        options=options,
        runtime=describe_runtime(model),
        samples={"questions": len(prompts), "of": len(table)},
    )
    log.info("%s", document["samples"])
    journal = Journal(snakemake.params.journal, [document, asked])
    answers = generate(
        model,
        prompts,
        end_tokens(model, tokenizer),
        batch_size=predictions["batch_size"],
        prefix=shared_beginning(prompts),
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        journal=journal,
        progress=progress("answers", "batch"),
    )
    write_frame(snakemake.output[0], answers_frame(answers, table, tokenizer), document)
    journal.remove()
