"""Head categories: pairs of single tokens, ranks of their targets under every head, scores and labels."""


use rule extract as select_pairs with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        pairs=f"{ACTIVATIONS}/pairs/{{dataset}}.parquet",
        report=metric("relation_pairs"),
    log:
        log_of("select_pairs", OF_DATASET),
    benchmark:
        costs_of("select_pairs", OF_DATASET)
    threads: 1
    resources:
        **asks_light(),
    params:
        *library("extract", "head_categories.jobs.select_pairs"),
        job="head_categories.jobs.select_pairs",
        options=options("head_categories", "leading_space", "minimum_pairs"),


use rule extract as extract_head_mappings with:
    input:
        model=MODEL,
        pairs=f"{ACTIVATIONS}/pairs/{{dataset}}.parquet",
    output:
        shard_of("head_mappings"),
    log:
        log_of("extract_head_mappings", OF_SHARD),
    benchmark:
        costs_of("extract_head_mappings", OF_SHARD)
    priority: 10
    resources:
        **asks("extract_head_mappings"),
    params:
        *library("extract", "head_categories.jobs.extract_head_mappings"),
        job="head_categories.jobs.extract_head_mappings",
        device=lambda wildcards: MODELS[wildcards.model]["device"],
        options=options("head_categories", "first_mlp", "first_experts", "k_max", "memory_mb"),


use rule compute as compute_head_categories with:
    input:
        activations=gathered("head_mappings"),
        pairs=f"{ACTIVATIONS}/pairs/{{dataset}}.parquet",
    output:
        **metrics("head_relations", "head_categories"),
    log:
        log_of("compute_head_categories", OF_DATASET),
    benchmark:
        costs_of("compute_head_categories", OF_DATASET)
    params:
        *library("compute", "head_categories.jobs.compute_head_categories"),
        job="head_categories.jobs.compute_head_categories",
        tables=columns("head_relations", "head_categories"),
        k=lambda wildcards: for_model("head_categories", "k", wildcards.model),
        options=options("head_categories", "tau", "alpha", "permutations", "seed"),
