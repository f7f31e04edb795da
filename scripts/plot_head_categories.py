"""Draw the category of every head, one panel per model."""

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.plot_head_categories import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    categories = read_table(snakemake.input.categories, "head_categories")
    pairs = read_table(snakemake.input.pairs, "relation_pairs")
    sources = read_provenance(snakemake.input.categories)["sources"]
    figure, caption = draw(categories, pairs, snakemake.params.figure, sources)
    save(figure, caption, snakemake.output)
