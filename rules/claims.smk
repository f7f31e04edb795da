"""Claims: what the sources say, put to each model from the tables of all analyses, with a verdict."""


use rule compute as compute_claims with:
    input:
        unpack(claims_inputs),
    output:
        claims=f"{METRICS}/claims.parquet",
        published=f"{METRICS}/published.parquet",
    log:
        log_of("compute_claims", OF_MODEL),
    benchmark:
        costs_of("compute_claims", OF_MODEL)
    params:
        *claim_libraries("claims.jobs.compute_claims"),
        job="claims.jobs.compute_claims",
        folders=list(registry.CLAIMS),
        subject=claims_subject,
        told=lambda wildcards: claims_told(wildcards.model),
        places=lambda wildcards: list(map(list, claims_files(wildcards.model))),
        tables=columns("claims", "published"),
        options=options("claims", "confidence", "bootstrap", "seed", "minimum"),
