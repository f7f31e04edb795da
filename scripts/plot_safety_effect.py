"""Draw the refusal rate against the number of ablated heads, with random heads as control."""

from typing import TYPE_CHECKING

from atlas.analyses.safety_heads.plot_safety_effect import draw
from atlas.plots.style import save
from atlas.results.files import read_provenance
from atlas.results.tables import read_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    table = read_table(snakemake.input.table, "ablation_effect")
    sources = read_provenance(snakemake.input.table)["sources"]
    groups = snakemake.input.get("groups")
    groups = read_table(groups, "head_groups") if groups else None
    figure, caption = draw(table, groups, snakemake.params.figure, sources)
    save(figure, caption, snakemake.output)
