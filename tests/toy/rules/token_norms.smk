"""Norms of hidden states, by layer."""


use rule extract as extract_token_norms with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        gathered("token_norms"),
    log:
        log_of("extract_token_norms", OF_DATASET),
    benchmark:
        costs_of("extract_token_norms", OF_DATASET)
    resources:
        **asks("extract_token_norms"),
    params:
        *library("extract", "token_norms.jobs.extract_token_norms"),
        job="token_norms.jobs.extract_token_norms",
        options=options("token_norms", "max_tokens"),


use rule compute as compute_token_norms with:
    input:
        activations=gathered("token_norms"),
    output:
        **metrics("token_norms"),
    log:
        log_of("compute_token_norms", OF_DATASET),
    benchmark:
        costs_of("compute_token_norms", OF_DATASET)
    params:
        *library("compute", "token_norms.jobs.compute_token_norms"),
        job="token_norms.jobs.compute_token_norms",
        tables=columns("token_norms"),
