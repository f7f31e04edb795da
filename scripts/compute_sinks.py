"""Sink heads and sink rates from stored attention per position."""

from typing import TYPE_CHECKING

from atlas.analyses.sinks.metrics import heads_table, rates_table
from atlas.results.files import read_arrays
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options = snakemake.params.options
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    arrays, document = read_arrays(snakemake.input.activations)
    document["metric_options"] = options
    dropped = document["samples"]["dropped"]["too short"]
    write_table(snakemake.output.heads, heads_table(arrays, keys, options), "sinks", document)
    write_table(snakemake.output.rates, rates_table(arrays, keys, dropped, options), "sink_rates", document)
