"""metrics: from stored activations to one frame per model and data set. No model is loaded here."""

METRICS = "results/metrics/{model}"


rule compute_attention:
    input:
        activations=f"{ACTIVATIONS}/attention/{{dataset}}.safetensors",
        library=library("compute_attention"),
    output:
        weights=f"{METRICS}/attention_weights/{{dataset}}.parquet",
        effect=f"{METRICS}/meaningless_effect/{{dataset}}.parquet",
    log:
        "results/logs/compute_attention/{model}/{dataset}.log",
    conda:
        "../envs/atlas.yaml"
    params:
        options=lambda wildcards: options(
            "meaningless_tokens", "reading", "confidence", "bootstrap", "seed"
        ),
    script:
        "../scripts/compute_attention.py"


rule compute_sinks:
    input:
        activations=f"{ACTIVATIONS}/sinks/{{dataset}}.safetensors",
        library=library("compute_sinks"),
    output:
        heads=f"{METRICS}/sinks/{{dataset}}.parquet",
        rates=f"{METRICS}/sink_rates/{{dataset}}.parquet",
    log:
        "results/logs/compute_sinks/{model}/{dataset}.log",
    conda:
        "../envs/atlas.yaml"
    params:
        options=lambda wildcards: options("sinks", "epsilon", "confidence", "bootstrap", "seed"),
    script:
        "../scripts/compute_sinks.py"


rule compute_head_categories:
    input:
        activations=f"{ACTIVATIONS}/head_mappings/{{dataset}}.safetensors",
        pairs=f"{ACTIVATIONS}/pairs/{{dataset}}.parquet",
        library=library("compute_head_categories"),
    output:
        relations=f"{METRICS}/head_relations/{{dataset}}.parquet",
        categories=f"{METRICS}/head_categories/{{dataset}}.parquet",
    log:
        "results/logs/compute_head_categories/{model}/{dataset}.log",
    conda:
        "../envs/atlas.yaml"
    params:
        k=lambda wildcards: ANALYSES["head_categories"]["k_by_model"].get(
            wildcards.model, ANALYSES["head_categories"]["k"]
        ),
        options=lambda wildcards: options("head_categories", "tau", "alpha", "permutations", "seed"),
    script:
        "../scripts/compute_head_categories.py"


rule compute_safety_heads:
    input:
        activations=f"{ACTIVATIONS}/head_ablations/{{dataset}}.safetensors",
        library=library("compute_safety_heads"),
    output:
        heads=f"{METRICS}/safety_heads/{{dataset}}.parquet",
        queries=f"{METRICS}/safety_queries/{{dataset}}.parquet",
    log:
        "results/logs/compute_safety_heads/{model}/{dataset}.log",
    conda:
        "../envs/atlas.yaml"
    params:
        options=lambda wildcards: options(
            "safety_heads", "ablations", "rank", "confidence", "bootstrap", "seed"
        ),
    script:
        "../scripts/compute_safety_heads.py"


rule compute_ablation_effect:
    input:
        answers=f"{ACTIVATIONS}/ablated_answers/{{dataset}}.parquet",
        phrases=lambda wildcards: in_project(ANALYSES["ablation_effect"]["phrases"]),
        library=library("compute_ablation_effect"),
    output:
        f"{METRICS}/ablation_effect/{{dataset}}.parquet",
    log:
        "results/logs/compute_ablation_effect/{model}/{dataset}.log",
    conda:
        "../envs/atlas.yaml"
    params:
        options=lambda wildcards: options("ablation_effect", "confidence"),
    script:
        "../scripts/compute_ablation_effect.py"
