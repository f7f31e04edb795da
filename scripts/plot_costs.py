"""Draw time and peak memory of every rule, by model."""

from typing import TYPE_CHECKING

from atlas.analyses.costs.plot_costs import draw
from atlas.plots.style import save
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    figure, caption = draw(read_table(snakemake.input.table, "costs"), snakemake.params.figure)
    save(figure, caption, snakemake.output)
