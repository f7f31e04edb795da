"""Standard head types: previous-token, duplicate-token and induction scores of every head."""


use rule extract as extract_head_types with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("head_types"),
    log:
        log_of("extract_head_types", OF_SHARD),
    benchmark:
        costs_of("extract_head_types", OF_SHARD)
    resources:
        **asks("extract_head_types", "head_types"),
    params:
        *library("extract", "head_types.jobs.extract_head_types"),
        job="head_types.jobs.extract_head_types",
        runtime=runtime("head_types"),
        options=options(
            "head_types",
            "tokens",
            "length",
            "sequences",
            "bos",
            "batch_tokens",
            "seed",
            stage="extract_head_types",
        ),


use rule compute as compute_head_types with:
    input:
        activations=gathered("head_types"),
    output:
        **metrics("head_types"),
    log:
        log_of("compute_head_types", OF_DATASET),
    benchmark:
        costs_of("compute_head_types", OF_DATASET)
    params:
        *library("compute", "head_types.jobs.compute_head_types"),
        job="head_types.jobs.compute_head_types",
        tables=columns("head_types"),
        options=options("head_types", "confidence", "bootstrap", "seed"),
