"""Keep the pairs whose sides are one token each for this model's tokenizer, and report what was lost."""

from pathlib import Path
from typing import TYPE_CHECKING

from atlas.analyses.head_categories.pairs import single_token_pairs
from atlas.models.folder import check_model_folder
from atlas.models.loading import load_tokenizer
from atlas.results.files import read_frame, read_provenance, write_frame
from atlas.results.tables import write_table
from job import job, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    pairs, report = single_token_pairs(
        read_frame(snakemake.input.dataset),
        load_tokenizer(snakemake.input.model),
        leading_space=options["leading_space"],
        minimum=options["minimum_pairs"],
    )
    log.info("\n%s", report.to_string())
    document = provenance(
        model=check_model_folder(Path(snakemake.input.model)),
        dataset=read_provenance(snakemake.input.dataset)["dataset"],
        options=options,
    )
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    write_frame(snakemake.output.pairs, pairs, document)
    write_table(snakemake.output.report, report.assign(**keys), "relation_pairs", document)
