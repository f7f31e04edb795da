"""Saliency between marked parts of prompts: sums of the flows, their means by layer."""


use rule extract as extract_span_saliency with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("span_saliency"),
    log:
        log_of("extract_span_saliency", OF_SHARD),
    benchmark:
        costs_of("extract_span_saliency", OF_SHARD)
    resources:
        **asks("extract_span_saliency", "span_saliency"),
    params:
        *library("extract", "saliency.jobs.extract_span_saliency"),
        job="saliency.jobs.extract_span_saliency",
        runtime=runtime("span_saliency"),
        options=options(
            "span_saliency",
            "flows",
            "batch_tokens",
            "block",
            "seed",
            stage="extract_span_saliency",
        ),


use rule compute as compute_span_saliency with:
    input:
        activations=gathered("span_saliency"),
    output:
        **metrics("span_saliency"),
    log:
        log_of("compute_span_saliency", OF_DATASET),
    benchmark:
        costs_of("compute_span_saliency", OF_DATASET)
    params:
        *library("compute", "saliency.jobs.compute_span_saliency"),
        job="saliency.jobs.compute_span_saliency",
        tables=columns("span_saliency"),
        options=options("span_saliency", "flows", "reduction", "heads", "confidence"),
