"""aggregate: one tidy table over all models and data sets, as parquet and csv."""

# table -> the analysis whose models and data sets it covers
TABLE_ANALYSES = {
    "qa_answers": "saliency",
    "qa_dropped": "saliency",
    "attention_weights": "meaningless_tokens",
    "meaningless_effect": "meaningless_tokens",
    "sinks": "sinks",
    "sink_rates": "sinks",
    "head_relations": "head_categories",
    "head_categories": "head_categories",
    "relation_pairs": "head_categories",
    "mink": "mink",
    "mink_graphs": "mink",
    "mink_trend": "mink",
    "score_gap": "mink",
    "discrepancy": "mink",
    "depth_accuracy": "mink",
    "safety_heads": "safety_heads",
    "safety_queries": "safety_heads",
    "head_groups": "head_groups",
    "ablation_effect": "ablation_effect",
}


rule aggregate_table:
    input:
        metrics=lambda wildcards: metric_files(
            f"{METRICS}/{wildcards.table}/{{dataset}}.parquet", TABLE_ANALYSES[wildcards.table]
        ),
        library=library("aggregate_table"),
    output:
        parquet="results/tables/{table}.parquet",
        csv="results/tables/{table}.csv",
    log:
        "results/logs/aggregate_table/{table}.log",
    benchmark:
        "results/benchmarks/jobs/aggregate_table/{table}.tsv"
    wildcard_constraints:
        table=any_of(TABLE_ANALYSES),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    script:
        "../scripts/aggregate_table.py"


# The jobs' measurements are no tracked files: without them nothing is run again. Depending on all tables, this comes
# after every job that is measured, and again whenever one of them has run.
rule aggregate_costs:
    input:
        tables=table_files(),
        library=library("aggregate_costs"),
    output:
        parquet="results/tables/costs.parquet",
        csv="results/tables/costs.csv",
    log:
        "results/logs/aggregate_costs.log",
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        benchmarks="results/benchmarks/jobs",
        logs="results/logs",
        models=list(MODELS),
        datasets=list(DATASETS),
    script:
        "../scripts/aggregate_costs.py"
