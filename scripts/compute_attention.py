"""Average attention per position and the effect of meaningless tokens per head, from stored column sums."""

from typing import TYPE_CHECKING

from atlas.analyses.meaningless_tokens.metrics import effect_table, weights_table
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
    weights = weights_table(arrays, keys, document["samples"], options)
    effect = effect_table(arrays, keys, document["samples"], options)
    write_table(snakemake.output.weights, weights, "attention_weights", document)
    write_table(snakemake.output.effect, effect, "meaningless_effect", document)
