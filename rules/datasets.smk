"""data: the raw files of each data set, and the rows that the analyses use."""


rule download_dataset:
    input:
        unpack(lambda wildcards: source_inputs(DATASETS, wildcards.dataset)),
    output:
        directory("results/downloads/datasets/{dataset}"),
    log:
        log_of("download_dataset", "{dataset}"),
    benchmark:
        costs_of("download_dataset", "{dataset}")
    wildcard_constraints:
        dataset=any_of(DATASETS.keys() - from_folders("download_dataset", DATASETS)),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(minutes=120),
    params:
        library=library("download_dataset"),
        content=lambda wildcards: source_content(DATASETS, wildcards.dataset),
        source=lambda wildcards: source_of(DATASETS, wildcards.dataset),
        staging="results/downloads/staging/datasets/{dataset}",
    script:
        "../scripts/download_dataset.py"


rule prepare_dataset:
    input:
        raw="results/downloads/datasets/{dataset}",
        schemas=lambda wildcards: handed_in(
            f"schemas/kinds/{DATASETS[wildcards.dataset]['kind']}.schema.json"
        ),
    output:
        DATASET,
    log:
        log_of("prepare_dataset", "{dataset}"),
    benchmark:
        costs_of("prepare_dataset", "{dataset}")
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        library=library("prepare_dataset"),
        schema=lambda wildcards: content_of(
            f"schemas/kinds/{DATASETS[wildcards.dataset]['kind']}.schema.json"
        ),
        entry=lambda wildcards: {
            key: DATASETS[wildcards.dataset][key]
            for key in (
                "kind",
                "format",
                "records",
                "columns",
                "relations",
                "limit",
                "sample",
                "encoding",
            )
        },
    script:
        "../scripts/prepare_dataset.py"
