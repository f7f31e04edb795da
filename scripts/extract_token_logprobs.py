"""Log-probabilities of the scored tokens of a depth data set's texts, for one shard of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.mink.extract import extract
from atlas.analyses.mink.scored_texts import scored_texts, text_rows
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_arrays
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = dict(snakemake.params.options)
    tokenizer = load_tokenizer(snakemake.input.model)
    answers = snakemake.input.get("answers")
    rows = text_rows(read_frame(snakemake.input.dataset), read_frame(answers) if answers else None)
    framing = {key: options[key] for key in ("template", "system", "max_tokens")}
    found = {text: scored_texts(tokenizer, rows, text, **framing) for text in options["texts"]}
    samples = {text: report for text, (_, report) in found.items()}
    log.info("%s", samples)
    model = load_model(snakemake.input.model, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    arrays = extract(
        model,
        {text: sequences for text, (sequences, _) in found.items()},
        batch_tokens=options["batch_tokens"],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        progress=progress("log-probabilities", "batch"),
    )
    write_arrays(
        snakemake.output[0],
        arrays,
        provenance(
            model=check_model_folder(Path(snakemake.input.model)),
            dataset=read_provenance(snakemake.input.dataset)["dataset"],
            options=options,
            runtime=describe_runtime(model),
            samples=samples,
        ),
    )
