"""Write the explorer: one page with every head, which needs no network."""

from typing import TYPE_CHECKING

from atlas.analyses.heads.plot_explorer import build, save
from atlas.results.contracts import TABLES
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    tables = {name: read_table(path, name) for name, path in snakemake.input.items() if name in TABLES}
    page, caption = build(tables, snakemake.params.figure)
    save(page, caption, snakemake.output)
