"""Greedy search for groups of heads among the strongest single heads."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.head_groups import search
from atlas.analyses.safety_heads.queries import build_queries
from atlas.models.architectures import read_shape
from atlas.models.folder import check_model_folder
from atlas.models.loading import describe_runtime, load_model, load_tokenizer
from atlas.results.files import read_frame, read_provenance
from atlas.results.tables import read_table, write_table
from job import job, progress, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options, folder = snakemake.params.options, snakemake.input.model
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    rows, context = read_frame(snakemake.input.dataset), read_shape(folder).context
    template = "analyses.safety_heads.template"
    prompts, report = build_queries(load_tokenizer(folder), rows, options["template"], context, template)
    ranked = read_table(snakemake.input.ranks, "safety_heads")
    model = load_model(folder, **snakemake.params.runtime)
    log.info("%s", describe_runtime(model))
    search_options = {key: value for key, value in options.items() if key != "template"}
    groups = search(model, prompts, ranked, **search_options, progress=progress("head groups", "step"))
    write_table(
        snakemake.output[0],
        groups.assign(**keys),
        "head_groups",
        provenance(
            model=check_model_folder(Path(folder)),
            dataset=read_provenance(snakemake.input.dataset)["dataset"],
            options=options,
            runtime=describe_runtime(model),
            samples=report,
        ),
    )
