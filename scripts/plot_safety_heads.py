"""Draw the strongest safety heads of each ablation over layer and head."""

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.plot_safety_heads import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    table = read_table(snakemake.input.table, "safety_heads")
    sources = read_provenance(snakemake.input.table)["sources"]
    figure, caption = draw(table, snakemake.params.figure, sources)
    save(figure, caption, snakemake.output)
