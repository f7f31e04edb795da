"""Join the shards of one model's answers into one file, the same bytes for any number of shards."""

from typing import TYPE_CHECKING

from atlas.results.files import read_frame, read_provenance, write_frame
from atlas.results.gathering import require_one_dtype, require_one_frame
from atlas.results.shards import merge_rows
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    frame = merge_rows(map(read_frame, snakemake.input.shards))
    documents = list(map(read_provenance, snakemake.input.shards))
    require_one_dtype(documents, snakemake.input.shards)
    require_one_frame(documents, snakemake.input.shards)
    write_frame(snakemake.output[0], frame, documents[0])
