"""Saliency per sample, layer and head, and whether it falls into two groups, from stored sums."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.metrics import check_probe, computed, tables
from atlas.analyses.saliency.mixture import mixture_table
from atlas.results.files import read_arrays, read_frame
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options = snakemake.params.options
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    arrays, document = read_arrays(snakemake.input.activations)
    stored, _ = read_arrays(snakemake.input.probe)
    check_probe(arrays, stored)
    found = tables(
        arrays, read_frame(snakemake.input.samples), computed(arrays, options["loss"], stored), options, keys
    )
    mixture = mixture_table(
        found["saliency"], confidence=options["confidence"], draws=options["bootstrap"], seed=options["seed"]
    )
    document.update(metric_options=options, probe_layer=int(stored["layer"]))
    write_table(snakemake.output.saliency, found["saliency"], "saliency", document)
    write_table(snakemake.output.layers, found["saliency_layers"], "saliency_layers", document)
    write_table(snakemake.output.heads, found["head_saliency"], "head_saliency", document)
    write_table(snakemake.output.mixture, mixture, "saliency_mixture", document)
