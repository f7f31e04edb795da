"""Ranks of every pair's target under every head, read from the weights of one shard of the layers."""

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.extract import map_heads
from atlas.models.architectures import read_shape
from atlas.models.loading import choose_device
from atlas.results.files import read_frame, read_provenance, write_arrays
from atlas.results.shards import layers_of
from job import counting, job, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake) as log:
    options = snakemake.params.options
    layers = layers_of(
        read_shape(snakemake.input.model).layers, int(snakemake.wildcards.shard), int(snakemake.wildcards.shards)
    )
    device = choose_device(snakemake.params.device)
    with counting("head mappings", "layer", len(layers)) as advance:
        ranks = map_heads(
            snakemake.input.model,
            read_frame(snakemake.input.pairs),
            layers,
            first_mlp=options["first_mlp"],
            k_max=options["k_max"],
            memory_mb=options["memory_mb"],
            threads=snakemake.threads,
            device=device,
            progress=advance,
        )
    document = read_provenance(snakemake.input.pairs)
    document |= provenance(options={**document["options"], **options}, runtime={"device": device, "dtype": "float32"})
    write_arrays(snakemake.output[0], ranks, document)
