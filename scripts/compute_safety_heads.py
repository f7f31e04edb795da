"""Generalized Ships of every head with intervals, and the KL divergence of every prompt."""

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.metrics import head_table, query_table
from atlas.results.files import read_arrays
from atlas.results.tables import write_table
from job import job, progress

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options = snakemake.params.options
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    arrays, document = read_arrays(snakemake.input.activations)
    document["metric_options"] = options
    samples = document["samples"]
    dropped = samples["of"] - samples["prompts"]
    heads = head_table(arrays, keys, dropped, options, progress("bootstrap", "draw"))
    write_table(snakemake.output.heads, heads, "safety_heads", document)
    write_table(
        snakemake.output.queries, query_table(arrays, keys, samples["ids"], options), "safety_queries", document
    )
