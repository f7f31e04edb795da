"""Draw question-to-answer saliency by layer."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.plot_saliency_by_layer import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    layers = read_table(snakemake.input.layers, "saliency_layers")
    documents = read_provenance(snakemake.input.layers)["sources"]
    figure, caption = draw(layers, snakemake.params.figure, documents)
    save(figure, caption, snakemake.output)
