"""Draw the sink rate by layer and the map of attention on the first token."""

from typing import TYPE_CHECKING

from atlas.analyses.sinks.plot_sink_rates import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    heads = read_table(snakemake.input.heads, "sinks")
    rates = read_table(snakemake.input.rates, "sink_rates")
    sources = read_provenance(snakemake.input.rates)["sources"]
    figure, caption = draw(heads, rates, snakemake.params.figure, sources)
    save(figure, caption, snakemake.output)
