"""Put one table of all models and data sets together, as parquet and csv."""

from typing import TYPE_CHECKING

from atlas.results.tables import concatenate, write_csv, write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    table = snakemake.wildcards.table
    frame, sources = concatenate(snakemake.input.metrics, table)
    write_table(snakemake.output.parquet, frame, table, {"sources": sources})
    write_csv(snakemake.output.csv, frame)
