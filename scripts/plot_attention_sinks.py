"""Draw attention per position with and without meaningless tokens."""

from typing import TYPE_CHECKING

from atlas.analyses.meaningless_tokens.plot_attention_sinks import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    weights = read_table(snakemake.input.weights, "attention_weights")
    effect = read_table(snakemake.input.effect, "meaningless_effect")
    sources = read_provenance(snakemake.input.weights)["sources"]
    figure, caption = draw(weights, effect, snakemake.params.figure, sources)
    save(figure, caption, snakemake.output)
