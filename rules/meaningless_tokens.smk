"""Attention with meaningless tokens: column sums with and without the span, curves and effects."""


use rule extract as extract_attention with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("attention"),
    log:
        log_of("extract_attention", OF_SHARD),
    benchmark:
        costs_of("extract_attention", OF_SHARD)
    resources:
        **asks("extract_attention", "meaningless_tokens"),
    params:
        *library("extract", "meaningless_tokens.jobs.extract_attention"),
        job="meaningless_tokens.jobs.extract_attention",
        runtime=runtime("meaningless_tokens"),
        chat=chat_settings("meaningless_tokens", "template"),
        options=options(
            "meaningless_tokens",
            "system",
            "template",
            "span",
            "insertion",
            "max_tokens",
            "batch_tokens",
            stage="extract_attention",
        ),


use rule compute as compute_attention with:
    input:
        activations=gathered("attention"),
    output:
        **metrics("attention_weights", "meaningless_effect"),
    log:
        log_of("compute_attention", OF_DATASET),
    benchmark:
        costs_of("compute_attention", OF_DATASET)
    params:
        *library("compute", "meaningless_tokens.jobs.compute_attention"),
        job="meaningless_tokens.jobs.compute_attention",
        tables=columns("attention_weights", "meaningless_effect"),
        options=options("meaningless_tokens", "reading", "confidence", "bootstrap", "seed"),
