"""Saliency sums of question-to-answer flow, for one shard of the answered questions."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.saliency.answered_samples import answered_samples
from atlas.analyses.saliency.extract import extract, usable
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model
from atlas.results.files import read_arrays, read_frame, read_provenance, write_arrays
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    samples, prefix = answered_samples(read_frame(snakemake.input.samples))
    stored, _ = read_arrays(snakemake.input.probe)
    losses, probe = usable(stored, samples, options["loss"])
    log.info("%d samples behind %d shared tokens, losses %s", len(samples), len(prefix), losses)
    model = load_model(snakemake.input.model, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    arrays = extract(
        model,
        samples,
        prefix,
        losses=losses,
        sample_probe=probe,
        batch_tokens=options["batch_tokens"],
        block=options["block"],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        progress=progress("saliency", "batch"),
    )
    document = read_provenance(snakemake.input.samples)
    write_arrays(
        snakemake.output[0],
        arrays,
        provenance(
            model=check_model_folder(Path(snakemake.input.model)),
            dataset=document["dataset"],
            options={**options, "computed": losses},
            runtime=describe_runtime(model),
            samples={"measured": len(samples), "prefix_tokens": len(prefix)},
            answers={key: document.get(key) for key in ("options", "samples")},
        ),
    )
