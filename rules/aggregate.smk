"""aggregate: one tidy table over all models and data sets, as parquet and csv."""

# table -> the analysis whose models and data sets it covers
TABLE_ANALYSES = {
    "saliency": "saliency",
    "saliency_layers": "saliency",
    "head_saliency": "saliency",
    "saliency_mixture": "saliency",
    "probe_auroc": "saliency",
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
        "results/logs/aggregate_heads/heads.log",
    benchmark:
        "results/benchmarks/jobs/aggregate_heads/heads.tsv"
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
        "results/logs/aggregate_head_overlap/head_overlap.log",
    benchmark:
        "results/benchmarks/jobs/aggregate_head_overlap/head_overlap.tsv"
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


# The jobs' measurements are no tracked files: without them nothing is run again. Depending on all tables, this comes
# after every job that is measured, and again whenever one of them has run.
rule aggregate_costs:
    input:
        tables=table_files(),
        library=library("aggregate_costs"),
    output:
        **table_output("costs"),
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
