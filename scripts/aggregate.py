"""Put one table of all models and data sets together, as parquet and csv."""

from typing import TYPE_CHECKING

from atlas.results.files import write_frame
from atlas.results.tables import concatenate, write_csv
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    frame, sources = concatenate(snakemake.input.metrics, snakemake.params.columns)
    document = {"sources": sources}
    if missing := snakemake.params.missing:
        log.warning("left out, because it could not be made: %s", ", ".join(missing))
        document["missing"] = missing
    write_frame(snakemake.output.parquet, frame, document)
    write_csv(snakemake.output.csv, frame)
