"""Draw one figure from the tables of its models; `params.plot` names the module that draws."""

from importlib import import_module
from typing import TYPE_CHECKING

from atlas.plots import style
from atlas.plots.sentences import of_figure
from atlas.results.tables import concatenate
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake), of_figure(snakemake.wildcards.figure):
    plot, tables, sources = import_module(f"atlas.analyses.{snakemake.params.plot}"), {}, {}
    for name, columns in snakemake.params.tables.items():
        if (files := snakemake.input.get(name)) or name in snakemake.params.empty:
            tables[name], sources[name] = concatenate([files] if isinstance(files, str) else files, columns)
    style.add_fonts([fonts] if isinstance(fonts := snakemake.input.get("fonts", []), str) else fonts)
    figure, caption = plot.draw(tables, snakemake.params.figure, sources)
    if own := snakemake.params.figure.get("own_options"):
        caption += f" Options of single models: {'; '.join(f'{label}: {said}' for label, said in own.items())}."
    if gone := snakemake.params.figure.get("not_shown"):
        caption += f" Not shown, because results of theirs could not be made: {', '.join(gone)}."
    if lost := snakemake.params.figure.get("not_made"):
        caption += f" Left out, because it could not be made: {', '.join(lost)}."
    save = getattr(plot, "save", style.save)
    save(figure, caption, snakemake.output)
