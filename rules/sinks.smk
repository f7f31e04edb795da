"""Attention sinks: attention received per position, sink heads and sink rates."""


use rule extract as extract_sinks with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("sinks"),
    log:
        log_of("extract_sinks", OF_SHARD),
    benchmark:
        costs_of("extract_sinks", OF_SHARD)
    resources:
        **asks("extract_sinks", "sinks"),
    params:
        *library("extract", "sinks.jobs.extract_sinks"),
        job="sinks.jobs.extract_sinks",
        runtime=runtime("sinks"),
        options=options(
            "sinks",
            "inputs",
            "length",
            "sequences",
            "bos",
            "batch_tokens",
            "seed",
            stage="extract_sinks",
        ),


use rule compute as compute_sinks with:
    input:
        activations=gathered("sinks"),
    output:
        **metrics("sinks", "sink_rates", "sink_profile", "sink_norms"),
    log:
        log_of("compute_sinks", OF_DATASET),
    benchmark:
        costs_of("compute_sinks", OF_DATASET)
    params:
        *library("compute", "sinks.jobs.compute_sinks"),
        job="sinks.jobs.compute_sinks",
        tables=columns("sinks", "sink_rates", "sink_profile", "sink_norms"),
        options=options("sinks", "epsilon", "positions", "confidence", "bootstrap", "seed"),
