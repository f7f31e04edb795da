"""metrics: from stored activations to one frame per model and data set. No model is loaded here."""

METRICS = "results/metrics/{model}"


rule train_probe:
    input:
        activations=f"{ACTIVATIONS}/hidden_states/{{dataset}}.safetensors",
        samples=qa_samples,
        library=library("train_probe"),
    output:
        probe=f"{METRICS}/probe/{{dataset}}.safetensors",
        auroc=f"{METRICS}/probe_auroc/{{dataset}}.parquet",
    log:
        "results/logs/train_probe/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/train_probe/{model}/{dataset}.tsv"
    priority: 30
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options("saliency", "probe", "confidence", "seed"),
    script:
        "../scripts/train_probe.py"


rule compute_saliency:
    input:
        activations=f"{ACTIVATIONS}/saliency/{{dataset}}.safetensors",
        samples=qa_samples,
        probe=f"{METRICS}/probe/{{dataset}}.safetensors",
        library=library("compute_saliency"),
    output:
        saliency=f"{METRICS}/saliency/{{dataset}}.parquet",
        layers=f"{METRICS}/saliency_layers/{{dataset}}.parquet",
        heads=f"{METRICS}/head_saliency/{{dataset}}.parquet",
        mixture=f"{METRICS}/saliency_mixture/{{dataset}}.parquet",
    log:
        "results/logs/compute_saliency/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/compute_saliency/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options(
            "saliency", "loss", "reduction", "heads", "layers", "confidence", "bootstrap", "seed"
        ),
    script:
        "../scripts/compute_saliency.py"


rule compute_attention:
    input:
        activations=f"{ACTIVATIONS}/attention/{{dataset}}.safetensors",
        library=library("compute_attention"),
    output:
        weights=f"{METRICS}/attention_weights/{{dataset}}.parquet",
        effect=f"{METRICS}/meaningless_effect/{{dataset}}.parquet",
    log:
        "results/logs/compute_attention/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/compute_attention/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
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
    benchmark:
        "results/benchmarks/jobs/compute_sinks/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
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
    benchmark:
        "results/benchmarks/jobs/compute_head_categories/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        k=lambda wildcards: for_model("head_categories", "k", wildcards.model),
        options=lambda wildcards: options("head_categories", "tau", "alpha", "permutations", "seed"),
    script:
        "../scripts/compute_head_categories.py"


rule judge_answers:
    input:
        unpack(answers_input(lambda: ANALYSES["mink"]["judge"]["kind"] != "column")),
        dataset="results/datasets/{dataset}.parquet",
        library=library("judge_answers"),
    output:
        f"{METRICS}/judgements/{{dataset}}.parquet",
    log:
        "results/logs/judge_answers/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/judge_answers/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(minutes=240),
    params:
        judge=judge_options,
        cache="results/judge_cache",
    script:
        "../scripts/judge_answers.py"


rule compute_mink:
    input:
        activations=f"{ACTIVATIONS}/token_logprobs/{{dataset}}.safetensors",
        dataset="results/datasets/{dataset}.parquet",
        library=library("compute_mink"),
    output:
        mink=f"{METRICS}/mink/{{dataset}}.parquet",
        graphs=f"{METRICS}/mink_graphs/{{dataset}}.parquet",
        trend=f"{METRICS}/mink_trend/{{dataset}}.parquet",
    log:
        "results/logs/compute_mink/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/compute_mink/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options(
            "mink", "k_percent", "min_tokens", "average", "confidence", "bootstrap", "seed"
        ),
    script:
        "../scripts/compute_mink.py"


rule compute_score_gap:
    input:
        mink=f"{METRICS}/mink/{{dataset}}.parquet",
        judgements=lambda wildcards: (
            f"results/metrics/{answers_from(wildcards.model)}/judgements/{wildcards.dataset}.parquet"
        ),
        dataset="results/datasets/{dataset}.parquet",
        library=library("compute_score_gap"),
    output:
        score_gap=f"{METRICS}/score_gap/{{dataset}}.parquet",
        discrepancy=f"{METRICS}/discrepancy/{{dataset}}.parquet",
        accuracy=f"{METRICS}/depth_accuracy/{{dataset}}.parquet",
    log:
        "results/logs/compute_score_gap/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/compute_score_gap/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options(
            "mink", "k_percent", "threshold", "successors", "confidence", "bootstrap", "seed"
        ),
        text=lambda wildcards: ANALYSES["mink"]["texts"][0],
        answers_from=lambda wildcards: answers_from(wildcards.model),
    script:
        "../scripts/compute_score_gap.py"


rule compute_safety_heads:
    input:
        activations=f"{ACTIVATIONS}/head_ablations/{{dataset}}.safetensors",
        library=library("compute_safety_heads"),
    output:
        heads=f"{METRICS}/safety_heads/{{dataset}}.parquet",
        queries=f"{METRICS}/safety_queries/{{dataset}}.parquet",
    log:
        "results/logs/compute_safety_heads/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/compute_safety_heads/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
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
    benchmark:
        "results/benchmarks/jobs/compute_ablation_effect/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options("ablation_effect", "confidence"),
    script:
        "../scripts/compute_ablation_effect.py"


rule compute_qa_answers:
    input:
        samples=qa_samples,
        library=library("compute_qa_answers"),
    output:
        answers=f"{METRICS}/qa_answers/{{dataset}}.parquet",
        dropped=f"{METRICS}/qa_dropped/{{dataset}}.parquet",
    log:
        "results/logs/compute_qa_answers/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/compute_qa_answers/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        answers_from=lambda wildcards: answers_from(wildcards.model),
    script:
        "../scripts/compute_qa_answers.py"
