"""Draw the AUROC of the truthfulness probe by layer."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.plot_probe_auroc import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    auroc = read_table(snakemake.input.auroc, "probe_auroc")
    documents = read_provenance(snakemake.input.auroc)["sources"]
    figure, caption = draw(auroc, snakemake.params.figure, documents)
    save(figure, caption, snakemake.output)
