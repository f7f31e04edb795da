"""Safety heads: every head ablated, Ships, groups of heads, and how often answers refuse without the strongest."""

RANKS = f"{METRICS}/safety_ranks/{{dataset}}.parquet"
PROMPT_RANKS = f"{METRICS}/safety_prompt_ranks/{{dataset}}.parquet"


use rule extract as extract_head_ablations with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("head_ablations"),
    log:
        log_of("extract_head_ablations", OF_SHARD),
    benchmark:
        costs_of("extract_head_ablations", OF_SHARD)
    priority: 40
    resources:
        **asks("extract_head_ablations", "safety_heads"),
    params:
        *library("extract", "safety_heads.jobs.extract_head_ablations"),
        job="safety_heads.jobs.extract_head_ablations",
        runtime=runtime("safety_heads"),
        chat=chat_settings("safety_heads", "template"),
        options=options("safety_heads", "template", "ablations", "epsilon", "max_rows"),


use rule compute as compute_safety_heads with:
    input:
        activations=gathered("head_ablations"),
    output:
        **metrics("safety_heads", "safety_queries"),
        resamples=metric("safety_resamples", "safetensors"),
    log:
        log_of("compute_safety_heads", OF_DATASET),
    benchmark:
        costs_of("compute_safety_heads", OF_DATASET)
    params:
        *library("compute", "safety_heads.jobs.compute_safety_heads"),
        job="safety_heads.jobs.compute_safety_heads",
        tables=columns("safety_heads", "safety_queries"),
        options=options("safety_heads", "ablations", "rank", "confidence", "bootstrap", "seed"),


# Apart from the table, so that a new column in it ablates nothing again.
use rule compute as rank_safety_heads with:
    input:
        activations=gathered("head_ablations"),
    output:
        RANKS,
    log:
        log_of("rank_safety_heads", OF_DATASET),
    benchmark:
        costs_of("rank_safety_heads", OF_DATASET)
    priority: 40
    params:
        *library("compute", "safety_heads.jobs.rank_safety_heads"),
        job="safety_heads.jobs.rank_safety_heads",
        options=options("safety_heads", "ablations", "rank"),


# For answers with each prompt's own heads ablated alone (own_heads).
use rule compute as rank_prompt_heads with:
    input:
        activations=gathered("head_ablations"),
    output:
        PROMPT_RANKS,
    log:
        log_of("rank_prompt_heads", OF_DATASET),
    benchmark:
        costs_of("rank_prompt_heads", OF_DATASET)
    priority: 40
    params:
        *library("compute", "safety_heads.jobs.rank_prompt_heads"),
        job="safety_heads.jobs.rank_prompt_heads",
        options=options("safety_heads", "ablations"),


use rule extract as search_head_groups with:
    input:
        model=MODEL,
        dataset=DATASET,
        ranks=RANKS,
    output:
        metric("head_groups"),
    log:
        log_of("search_head_groups", OF_DATASET),
    benchmark:
        costs_of("search_head_groups", OF_DATASET)
    priority: 40
    resources:
        **asks("search_head_groups", "safety_heads"),
    params:
        *library("extract", "safety_heads.jobs.search_head_groups"),
        job="safety_heads.jobs.search_head_groups",
        runtime=runtime("safety_heads"),
        chat=chat_settings("safety_heads", "template"),
        options=options(
            *("safety_heads", "template", "ablations", "epsilon"),
            head_groups=["rank", "candidates", "size", "max_rows"],
        ),


use rule extract as generate_ablated with:
    input:
        unpack(own_ranks),
        model=MODEL,
        dataset=DATASET,
        ranks=RANKS,
    output:
        f"{ACTIVATIONS}/ablated_answers/{{dataset}}.parquet",
    log:
        log_of("generate_ablated", OF_DATASET),
    benchmark:
        costs_of("generate_ablated", OF_DATASET)
    priority: 40
    resources:
        **asks("generate_ablated", "ablation_effect"),
    params:
        *library("extract", "safety_heads.jobs.generate_ablated"),
        job="safety_heads.jobs.generate_ablated",
        runtime=runtime("ablation_effect"),
        chat=chat_settings("ablation_effect", "template"),
        options=options(
            *("safety_heads", "ablations", "epsilon"),
            ablation_effect=[
                "template",
                "heads",
                "own_heads",
                "rank",
                "draws",
                "new_tokens",
                "max_rows",
                "seed",
            ],
        ),


use rule compute as compute_ablation_effect with:
    input:
        answers=f"{ACTIVATIONS}/ablated_answers/{{dataset}}.parquet",
        phrases=lambda wildcards: handed_in(
            for_model("ablation_effect", "phrases", wildcards.model)
        ),
    output:
        **metrics("ablation_effect"),
    log:
        log_of("compute_ablation_effect", OF_DATASET),
    benchmark:
        costs_of("compute_ablation_effect", OF_DATASET)
    params:
        *library("compute", "safety_heads.jobs.compute_ablation_effect"),
        job="safety_heads.jobs.compute_ablation_effect",
        content=lambda wildcards: content_of(
            for_model("ablation_effect", "phrases", wildcards.model)
        ),
        tables=columns("ablation_effect"),
        options=options("ablation_effect", "confidence"),
