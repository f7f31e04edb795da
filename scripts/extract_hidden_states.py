"""Hidden states of answered questions at the position that the probe reads, for one shard of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.saliency.answered_samples import answered_samples
from atlas.analyses.saliency.hidden_states import extract
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model
from atlas.results.files import read_frame, read_provenance, write_arrays
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    samples, prefix = answered_samples(read_frame(snakemake.input.samples))
    log.info("%d samples behind %d shared tokens", len(samples), len(prefix))
    model = load_model(snakemake.input.model, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    arrays = extract(
        model,
        samples,
        prefix,
        batch_tokens=options["batch_tokens"],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        progress=progress("hidden states", "batch"),
    )
    write_arrays(
        snakemake.output[0],
        arrays,
        provenance(
            model=check_model_folder(Path(snakemake.input.model)),
            dataset=read_provenance(snakemake.input.samples)["dataset"],
            options=options,
            runtime=describe_runtime(model),
            samples={"measured": len(samples), "prefix_tokens": len(prefix)},
        ),
    )
