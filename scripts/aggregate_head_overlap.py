"""Compare the measures of heads in pairs: rank correlations and overlaps of top sets."""

from typing import TYPE_CHECKING

from atlas.analyses.heads.overlap import overlap_table
from atlas.results.files import read_provenance
from atlas.results.tables import read_table, write_csv, write_table
from job import job, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options = snakemake.params.options
    frame = overlap_table(
        read_table(snakemake.input.heads, "heads"),
        options["metrics"],
        top=options["top"],
        draws=options["bootstrap"],
        confidence=options["confidence"],
        seed=options["seed"],
    )
    sources = {snakemake.input.heads: read_provenance(snakemake.input.heads)}
    write_table(snakemake.output.parquet, frame, "head_overlap", provenance(options=options, sources=sources))
    write_csv(snakemake.output.csv, frame)
