"""Score gaps with their Min-K% groups, discrepancies and judged accuracy by depth."""

from typing import TYPE_CHECKING

from atlas.analyses.mink.score_gaps import accuracy_table, discrepancy_table, score_gap_table
from atlas.results.files import read_frame, read_provenance
from atlas.results.tables import read_table, write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options, params = snakemake.params.options, snakemake.params
    table, judgements = read_frame(snakemake.input.dataset), read_frame(snakemake.input.judgements)
    document = read_provenance(snakemake.input.judgements)
    keys = {
        "model": snakemake.wildcards.model,
        "dataset": snakemake.wildcards.dataset,
        "judge": document["judge"]["kind"],
        "answers_from": params.answers_from,
    }
    interval = {"confidence": options["confidence"], "draws": options["bootstrap"], "seed": options["seed"]}
    gaps, left_out = score_gap_table(
        table,
        judgements,
        read_table(snakemake.input.mink, "mink"),
        k_percent=options["k_percent"][0],
        text=params.text,
    )
    discrepancy = discrepancy_table(
        table, judgements, threshold=options["threshold"], successor_rule=options["successors"], **interval
    )
    accuracy = accuracy_table(table, judgements, **interval)
    document.update(metric_options=options, dropped=left_out, answers_from=params.answers_from)
    write_table(snakemake.output.score_gap, gaps.assign(**keys), "score_gap", document)
    write_table(snakemake.output.discrepancy, discrepancy.assign(**keys), "discrepancy", document)
    write_table(snakemake.output.accuracy, accuracy.assign(**keys), "depth_accuracy", document)
