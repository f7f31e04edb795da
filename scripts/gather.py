"""Join the shards of one extraction into one file, the same bytes for any number of shards."""

from importlib import import_module
from typing import TYPE_CHECKING

from atlas.results.files import read_arrays, write_arrays
from atlas.results.gathering import require_one_dtype, require_one_frame
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    storage = import_module(f"atlas.analyses.{snakemake.params.storage}")
    arrays, documents = zip(*map(read_arrays, snakemake.input.shards), strict=True)
    require_one_dtype(documents, snakemake.input.shards)
    require_one_frame(documents, snakemake.input.shards)
    write_arrays(snakemake.output[0], storage.merge(arrays), documents[0])
