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

# What is made from other tables, not from metrics.
JOINED_TABLES = {"heads": "heads", "head_overlap": "heads"}

# Tables of single heads, joined by the table heads. Those of an analysis that is not configured stay out.
HEAD_TABLES = {
    table: f"results/tables/{table}.parquet"
    for table in (
        "head_categories",
        "head_relations",
        "sinks",
        "meaningless_effect",
        "head_saliency",
        "safety_heads",
    )
    if TABLE_ANALYSES.get(table) in ANALYSES
}


rule aggregate_table:
    input:
        metrics=lambda wildcards: metric_files(
            f"{METRICS}/{wildcards.table}/{{dataset}}.parquet", TABLE_ANALYSES[wildcards.table]
        ),
        library=library("aggregate_table"),
    output:
        **table_output("{table}"),
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


rule aggregate_heads:
    input:
        **HEAD_TABLES,
        library=library("aggregate_heads"),
    output:
        **table_output("heads"),
    log:
        "results/logs/aggregate_table/heads.log",
    benchmark:
        "results/benchmarks/jobs/aggregate_table/heads.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options("heads", "models", "datasets", "rank", "loss"),
    script:
        "../scripts/aggregate_heads.py"


rule aggregate_head_overlap:
    input:
        heads="results/tables/heads.parquet",
        library=library("aggregate_head_overlap"),
    output:
        **table_output("head_overlap"),
    log:
        "results/logs/aggregate_table/head_overlap.log",
    benchmark:
        "results/benchmarks/jobs/aggregate_table/head_overlap.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options(
            "heads", "metrics", "top", "bootstrap", "confidence", "seed"
        ),
    script:
        "../scripts/aggregate_head_overlap.py"
