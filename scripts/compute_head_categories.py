"""Scores of every head on every relation, their null, and the category of every head."""

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.metrics import categories_table, relation_scores
from atlas.results.files import read_arrays, read_frame
from atlas.results.tables import write_table
from job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake):
    options, k = snakemake.params.options, snakemake.params.k
    keys = {"model": snakemake.wildcards.model, "dataset": snakemake.wildcards.dataset}
    ranks, document = read_arrays(snakemake.input.activations)
    document["metric_options"] = {**options, "k": k}
    pairs = read_frame(snakemake.input.pairs)
    k = {relation: k.get(relation, k["default"]) for relation in pairs["relation"].unique()}
    scores = relation_scores(ranks, pairs, k, draws=options["permutations"], seed=options["seed"])
    write_table(snakemake.output.relations, scores.assign(**keys), "head_relations", document)
    table = categories_table(scores, tau=options["tau"], alpha=options["alpha"])
    write_table(snakemake.output.categories, table.assign(**keys), "head_categories", document)
