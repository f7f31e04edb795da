"""Put together what the jobs before the tables took: time, memory, rows and rates by rule, model and data set."""

from typing import TYPE_CHECKING

from atlas.analyses.costs.metrics import gather
from atlas.results.files import write_frame
from atlas.results.tables import conform, write_csv
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    params = snakemake.params
    frame = gather(params.benchmarks, params.logs, params.models, params.datasets)
    frame = conform(frame, params.columns, "costs")
    write_frame(snakemake.output.parquet, frame, {"sources": {}})
    write_csv(snakemake.output.csv, frame)
