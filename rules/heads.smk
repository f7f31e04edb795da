"""All analyses, head by head: the tables of single heads of one model joined, and their measures compared."""


use rule compute as join_heads with:
    input:
        unpack(joined_files),
    output:
        heads=f"{METRICS}/heads.parquet",
    log:
        log_of("join_heads", OF_MODEL),
    benchmark:
        costs_of("join_heads", OF_MODEL)
    params:
        *head_libraries("heads.jobs.join_heads"),
        job="heads.jobs.join_heads",
        head_tables=joined,
        tables=columns("heads"),
        options=options("heads", "datasets", "rank", "loss"),


use rule compute as compare_heads with:
    input:
        heads=f"{METRICS}/heads.parquet",
    output:
        head_overlap=f"{METRICS}/head_overlap.parquet",
    log:
        log_of("compare_heads", OF_MODEL),
    benchmark:
        costs_of("compare_heads", OF_MODEL)
    params:
        *head_libraries("heads.jobs.compare_heads"),
        job="heads.jobs.compare_heads",
        analyses=list(ANALYSES.get("heads", {}).get("datasets", ())),
        tables=columns("head_overlap"),
        options=options("heads", "metrics", "top", "bootstrap", "confidence", "seed"),
