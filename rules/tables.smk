"""aggregate: one tidy table over all models and data sets, as parquet and csv."""


rule aggregate_table:
    input:
        metrics=lambda wildcards: list(filter(made, metric_files(wildcards.table))),
    output:
        **table_output("{table}"),
    log:
        log_of("aggregate_table", "{table}"),
    benchmark:
        costs_of("aggregate_table", "{table}")
    wildcard_constraints:
        table=any_of(registry.TABLE_ANALYSES),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        *library("aggregate"),
        columns=lambda wildcards: columns(wildcards.table)[wildcards.table],
        missing=lambda wildcards: missing_of(metric_files(wildcards.table)),
    script:
        "../scripts/aggregate.py"


# Joined tables have one file per model.
for table in registry.JOINED_TABLES:

    rule:
        name:
            f"aggregate_{table}"
        input:
            metrics=list(filter(made, metric_files(table))),
        output:
            **table_output(table),
        log:
            log_of(f"aggregate_{table}", table),
        benchmark:
            costs_of(f"aggregate_{table}", table)
        conda:
            "../envs/atlas.yaml"
        resources:
            **asks_light(),
        params:
            *library("aggregate"),
            columns=columns(table)[table],
            missing=missing_of(metric_files(table)),
        script:
            "../scripts/aggregate.py"


# The jobs' measurements are no tracked files: without them nothing is run again. Depending on all tables, this comes
# after every job that is measured, and again whenever one of them has run.
rule aggregate_costs:
    input:
        tables=table_files(),
    output:
        **table_output("costs"),
    log:
        f"{OWN}/logs/aggregate_costs.log",
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        *library("aggregate_costs"),
        benchmarks=placed(f"{OWN}/benchmarks/jobs"),
        logs=placed(f"{OWN}/logs"),
        models=list(MODELS),
        datasets=list(DATASETS),
        columns=columns("costs")["costs"],
    script:
        "../scripts/aggregate_costs.py"
