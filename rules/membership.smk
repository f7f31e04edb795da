"""Membership in what a model was trained on: log-probabilities of labelled texts, scores of them, ROC."""


use rule extract as extract_membership with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("membership_logprobs"),
    log:
        log_of("extract_membership", OF_SHARD),
    benchmark:
        costs_of("extract_membership", OF_SHARD)
    resources:
        **asks("extract_membership", "membership"),
    params:
        *library("extract", "mink.jobs.extract_membership"),
        job="mink.jobs.extract_membership",
        runtime=runtime("membership"),
        options=options(
            "membership", "lowercase", "max_tokens", "batch_tokens", stage="extract_membership"
        ),


use rule compute as compute_membership with:
    input:
        unpack(reference_logprobs),
        activations=gathered("membership_logprobs"),
        dataset=DATASET,
    output:
        **metrics("membership", "membership_scores"),
    log:
        log_of("compute_membership", OF_DATASET),
    benchmark:
        costs_of("compute_membership", OF_DATASET)
    params:
        *library("compute", "mink.jobs.compute_membership"),
        job="mink.jobs.compute_membership",
        tables=columns("membership", "membership_scores"),
        options=options(
            "membership", "k_percent", "min_tokens", "max_fpr", "confidence", "bootstrap", "seed"
        ),
        reference=lambda wildcards: reference_of(wildcards.model),
