"""Join the tables of single heads into one, as parquet and csv."""

from typing import TYPE_CHECKING

from atlas.analyses.heads.join import join_heads
from atlas.results.contracts import TABLES
from atlas.results.files import read_provenance
from atlas.results.tables import read_table, write_csv, write_table
from job import job, provenance

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    paths = {name: path for name, path in snakemake.input.items() if name in TABLES}
    frame = join_heads({name: read_table(path, name) for name, path in paths.items()}, snakemake.params.options)
    sources = {path: read_provenance(path)["sources"] for path in paths.values()}
    write_table(snakemake.output.parquet, frame, "heads", provenance(options=snakemake.params.options, sources=sources))
    write_csv(snakemake.output.csv, frame)
