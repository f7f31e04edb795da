"""Column sums of attention with and without meaningless tokens, for one shard of one data set."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.meaningless_tokens.extract import extract
from atlas.analyses.meaningless_tokens.prompts import build_prompts
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_arrays
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    tokenizer = load_tokenizer(snakemake.input.model)
    texts = read_frame(snakemake.input.dataset)["text"].tolist()
    prompts, report = build_prompts(tokenizer, texts, options)
    log.info("%s", {name: value for name, value in report.items() if name != "tokens"})  # all their names are long
    model = load_model(snakemake.input.model, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    arrays = extract(
        model,
        prompts,
        batch_tokens=options["batch_tokens"],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        progress=progress("attention", "batch"),
    )
    write_arrays(
        snakemake.output[0],
        arrays,
        provenance(
            model=check_model_folder(Path(snakemake.input.model)),
            dataset=read_provenance(snakemake.input.dataset)["dataset"],
            options=options,
            runtime=describe_runtime(model),
            samples=report,
        ),
    )
