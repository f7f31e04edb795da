"""The body of each stage, once. `use rule extract as extract_sinks with:` says what is a rule's own: files and options.

Priorities: first what other long jobs wait for, last the long jobs that nothing but a figure waits for, so that no core is
idle at the end.
"""


# The only stage that runs a model. One file per shard, gathered into one file per model and data set.
rule extract:
    log:
        log_of("extract", OF_SHARD),
    benchmark:
        costs_of("extract", OF_SHARD)
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    params:
        runtime=runtime(),
    script:
        "../scripts/extract.py"


# From stored activations to one frame per model and data set. No model is loaded here.
rule compute:
    log:
        log_of("compute", OF_DATASET),
    benchmark:
        costs_of("compute", OF_DATASET)
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    script:
        "../scripts/compute.py"


rule gather_shards:
    input:
        shards=lambda wildcards: shard_files(
            f"{ACTIVATIONS}/{wildcards.extraction}/{wildcards.dataset}".format(
                model=wildcards.model
            ),
            registry.EXTRACTIONS[wildcards.extraction][0],
            wildcards.model,
        ),
    output:
        gathered("{extraction}"),
    log:
        log_of("gather_shards", "{model}/{extraction}/{dataset}"),
    benchmark:
        costs_of("gather_shards", "{model}/{extraction}/{dataset}")
    wildcard_constraints:
        extraction=any_of(registry.EXTRACTIONS),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        storage=lambda wildcards: registry.EXTRACTIONS[wildcards.extraction][1],
        library=lambda wildcards: library("gather", registry.EXTRACTIONS[wildcards.extraction][1]),
    script:
        "../scripts/gather.py"


rule gather_answers:
    input:
        shards=lambda wildcards: shard_files(
            f"{ACTIVATIONS}/{wildcards.answers}/{wildcards.dataset}".format(model=wildcards.model),
            registry.ANSWERS[wildcards.answers],
            wildcards.model,
            "parquet",
        ),
    output:
        gathered("{answers}", "parquet"),
    log:
        log_of("gather_answers", "{model}/{answers}/{dataset}"),
    benchmark:
        costs_of("gather_answers", "{model}/{answers}/{dataset}")
    wildcard_constraints:
        answers=any_of(registry.ANSWERS),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        *library("gather_answers"),
    script:
        "../scripts/gather_answers.py"
