"""Head categories: pairs of single tokens, ranks of their targets under every head, scores and labels; whether a model
loses a relation without the heads that implement it; and whether heads write on prompts what the map says.
"""

PAIRS_FILE = f"{ACTIVATIONS}/pairs/{{dataset}}.parquet"
RELATION_RANKS = f"{METRICS}/relation_ranks/{{dataset}}.parquet"
RELATION_HITS = f"{ACTIVATIONS}/relation_hits/{{dataset}}.safetensors"
RELATION_ANSWERS = f"{ACTIVATIONS}/relation_answers/{{dataset}}.parquet"


use rule extract as select_pairs with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        pairs=PAIRS_FILE,
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
        pairs=PAIRS_FILE,
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
        options=options(
            *("head_categories", "first_mlp", "first_experts", "k_max"),
            *("salient_tokens", "salient_mapped", "memory_mb"),
        ),


# Apart from the weights, for the tokenizer alone.
use rule extract as describe_salient_operations with:
    input:
        model=MODEL,
        activations=gathered("head_mappings"),
    output:
        **metrics("salient_operations"),
    log:
        log_of("describe_salient_operations", OF_DATASET),
    benchmark:
        costs_of("describe_salient_operations", OF_DATASET)
    threads: 1
    resources:
        **asks_light(),
    params:
        *library("extract", "head_categories.jobs.describe_salient_operations"),
        job="head_categories.jobs.describe_salient_operations",
        tables=columns("salient_operations"),


use rule compute as compute_head_categories with:
    input:
        activations=gathered("head_mappings"),
        pairs=PAIRS_FILE,
        relations=metric("relation_pairs"),
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
        named=named_relations("head_categories", "k"),
        options=options("head_categories", "tau", "alpha", "permutations", "seed"),


# Apart from the tables, so that a new column in them, or another null, runs no model again.
use rule compute as rank_relation_heads with:
    input:
        activations=gathered("head_mappings"),
        pairs=PAIRS_FILE,
    output:
        RELATION_RANKS,
    log:
        log_of("rank_relation_heads", OF_DATASET),
    benchmark:
        costs_of("rank_relation_heads", OF_DATASET)
    priority: 40
    params:
        *library("compute", "head_categories.jobs.rank_relation_heads"),
        job="head_categories.jobs.rank_relation_heads",
        k=lambda wildcards: for_model("head_categories", "k", wildcards.model),


use rule extract as complete_relations with:
    input:
        model=MODEL,
        dataset=DATASET,
        pairs=PAIRS_FILE,
        relations=metric("relation_pairs"),
        ranks=RELATION_RANKS,
    output:
        RELATION_ANSWERS,
    log:
        log_of("complete_relations", OF_DATASET),
    benchmark:
        costs_of("complete_relations", OF_DATASET)
    priority: 20
    resources:
        **asks("complete_relations", "relation_effect"),
    params:
        *library("extract", "head_categories.jobs.complete_relations"),
        job="head_categories.jobs.complete_relations",
        runtime=runtime("relation_effect"),
        named=named_relations("relation_effect", "templates"),
        options=options(
            *("relation_effect", "templates", "example", "shots", "prompts", "heads", "draws"),
            *("others", "minimum_accuracy", "ablation", "positions", "max_rows", "seed"),
            head_categories=["tau"],
        ),


use rule compute as compute_relation_effect with:
    input:
        answers=RELATION_ANSWERS,
        ranks=RELATION_RANKS,
    output:
        **metrics("relation_effect", "relation_answers"),
    log:
        log_of("compute_relation_effect", OF_DATASET),
    benchmark:
        costs_of("compute_relation_effect", OF_DATASET)
    params:
        *library("compute", "head_categories.jobs.compute_relation_effect"),
        job="head_categories.jobs.compute_relation_effect",
        tables=columns("relation_effect", "relation_answers"),
        options=options("relation_effect", "confidence", "bootstrap", "seed"),


use rule extract as extract_relation_hits with:
    input:
        model=MODEL,
        dataset=DATASET,
        pairs=PAIRS_FILE,
    output:
        RELATION_HITS,
    log:
        log_of("extract_relation_hits", OF_DATASET),
    benchmark:
        costs_of("extract_relation_hits", OF_DATASET)
    priority: 20
    resources:
        **asks("extract_relation_hits", "relation_dynamic"),
    params:
        *library("extract", "head_categories.jobs.extract_relation_hits"),
        job="head_categories.jobs.extract_relation_hits",
        runtime=runtime("relation_dynamic"),
        k=lambda wildcards: for_model("head_categories", "k", wildcards.model),
        options=options(
            "relation_dynamic", "templates", "example", "shots", "pairs", "max_rows", "seed"
        ),


use rule compute as compute_relation_dynamic with:
    input:
        activations=RELATION_HITS,
        ranks=gathered("head_mappings"),
        pairs=PAIRS_FILE,
    output:
        **metrics("relation_dynamic", "relation_correlation"),
    log:
        log_of("compute_relation_dynamic", OF_DATASET),
    benchmark:
        costs_of("compute_relation_dynamic", OF_DATASET)
    params:
        *library("compute", "head_categories.jobs.compute_relation_dynamic"),
        job="head_categories.jobs.compute_relation_dynamic",
        tables=columns("relation_dynamic", "relation_correlation"),
        k=lambda wildcards: for_model("head_categories", "k", wildcards.model),
        options=options("relation_dynamic", "confidence", head_categories=["tau"]),
