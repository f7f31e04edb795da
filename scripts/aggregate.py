"""Put one table of all models and data sets together, as parquet and csv."""

from typing import TYPE_CHECKING

from atlas.results.files import write_frame
from atlas.results.tables import concatenate, write_csv
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    frame, sources = concatenate(snakemake.input.metrics, snakemake.params.columns)
    write_frame(snakemake.output.parquet, frame, {"sources": sources})
    write_csv(snakemake.output.csv, frame)
