"""Draw Min-K% by depth and the score gaps of the groups it makes."""

from typing import TYPE_CHECKING

from atlas.analyses.mink.plot_mink_depth import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    names = ("mink", "mink_graphs", "mink_trend", "score_gap")
    tables = {name: read_table(snakemake.input[name], name) for name in names}
    documents = {name: read_provenance(snakemake.input[name])["sources"] for name in ("mink_trend", "score_gap")}
    figure, caption = draw(tables, snakemake.params.figure, documents)
    save(figure, caption, snakemake.output)
