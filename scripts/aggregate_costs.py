"""Put together what the jobs before the tables took: time, memory, rows and rates by rule, model and data set."""

from typing import TYPE_CHECKING

from atlas.analyses.costs.metrics import gather
from atlas.results.tables import conform, write_csv, write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    frame = conform(gather(**snakemake.params), "costs")
    write_table(snakemake.output.parquet, frame, "costs", {"sources": {}})
    write_csv(snakemake.output.csv, frame)
