"""Min-K% and Min-K%++ per question and graph, and their trend over depths, from stored log-probabilities."""

from typing import TYPE_CHECKING

from atlas.analyses.mink.metrics import graph_table, mink_table, trend_table
from atlas.results.files import read_arrays, read_frame
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options = snakemake.params.options
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    table = read_frame(snakemake.input.dataset)
    arrays, document = read_arrays(snakemake.input.activations)
    mink, short = mink_table(
        arrays,
        table,
        keys,
        k_percent=options["k_percent"],
        min_tokens=options["min_tokens"],
        template=document["options"]["template"],
        dtype=document["runtime"]["dtype"],
    )
    by_graph = graph_table(mink, table)
    trend = trend_table(
        mink,
        by_graph,
        short,
        average=options["average"],
        confidence=options["confidence"],
        draws=options["bootstrap"],
        seed=options["seed"],
    )
    document.update(metric_options=options, dropped={text: {"under min_tokens": n} for text, n in short.items()})
    write_table(snakemake.output.mink, mink, "mink", document)
    write_table(snakemake.output.graphs, by_graph, "mink_graphs", document)
    write_table(snakemake.output.trend, trend, "mink_trend", document)
