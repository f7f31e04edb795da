"""Write the sha256 of every figure; `sha256sum -c figures/manifest.sha256` checks them."""

from typing import TYPE_CHECKING

from atlas.results.tables import write_manifest
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    write_manifest(snakemake.output[0], snakemake.input.figures)
