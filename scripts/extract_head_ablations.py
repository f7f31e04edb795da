"""Effects of ablating every single head, for one shard of the layers."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.extract import extract
from atlas.analyses.safety_heads.queries import build_queries
from atlas.models.architectures import read_shape
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_arrays
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options, folder = snakemake.params.options, snakemake.input.model
    rows, context = read_frame(snakemake.input.dataset), read_shape(folder).context
    template = "analyses.safety_heads.template"
    prompts, report = build_queries(load_tokenizer(folder), rows, options["template"], context, template)
    log.info("%s", report)
    model = load_model(folder, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    arrays = extract(
        model,
        prompts,
        ablations=options["ablations"],
        epsilon=options["epsilon"],
        max_rows=options["max_rows"],
        shard=int(snakemake.wildcards.shard),
        shards=int(snakemake.wildcards.shards),
        progress=progress("head ablations", "layer"),
    )
    write_arrays(
        snakemake.output[0],
        arrays,
        provenance(
            model=check_model_folder(Path(folder)),
            dataset=read_provenance(snakemake.input.dataset)["dataset"],
            options=options,
            runtime=describe_runtime(model),
            samples=report,
        ),
    )
