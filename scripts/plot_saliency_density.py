"""Draw the densities of question-to-answer saliency."""

from typing import TYPE_CHECKING

from atlas.analyses.saliency.plot_saliency_density import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    names = {"saliency": "saliency", "saliency_mixture": "mixture", "probe_auroc": "auroc"}
    tables = {table: read_table(snakemake.input[name], table) for table, name in names.items()}
    documents = read_provenance(snakemake.input.saliency)["sources"]
    figure, caption = draw(tables, snakemake.params.figure, documents)
    save(figure, caption, snakemake.output)
