"""The answers of one data set as a table, and what was dropped; a control has those of its base."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.answer_tables import answers_table, dropped_table
from atlas.results.files import read_frame, read_provenance
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    source = snakemake.params.answers_from
    document = read_provenance(snakemake.input.samples)
    counts = document["samples"]
    answers = answers_table(read_frame(snakemake.input.samples), keys, source)
    dropped = dropped_table(counts["dropped"], counts["questions"], keys, source)
    write_table(snakemake.output.answers, answers, "qa_answers", document)
    write_table(snakemake.output.dropped, dropped, "qa_dropped", document)
