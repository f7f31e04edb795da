"""Draw rank correlations between measures of heads, and the overlap of their top sets."""

from typing import TYPE_CHECKING

from atlas.analyses.heads.plot_head_overlap import draw
from atlas.plots.style import save
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    table = read_table(snakemake.input.table, "head_overlap")
    figure, caption = draw(table, snakemake.params.figure)
    save(figure, caption, snakemake.output)
