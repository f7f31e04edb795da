"""extract: the only stage that runs a model. One file per shard, gathered into one file per model and data set.

Priorities: first what other long jobs wait for, last the long jobs that nothing but a figure waits for, so that no core is
idle at the end.
"""

ACTIVATIONS = "results/activations/{model}"


rule extract_attention:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        library=library("extract_attention"),
    output:
        f"{ACTIVATIONS}/attention/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_attention/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_attention/{model}/{dataset}/{shard}-of-{shards}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_attention"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options(
            "meaningless_tokens",
            "system",
            "template",
            "span",
            "insertion",
            "max_tokens",
            "batch_tokens",
        ),
    script:
        "../scripts/extract_attention.py"


rule extract_sinks:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        library=library("extract_sinks"),
    output:
        f"{ACTIVATIONS}/sinks/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_sinks/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_sinks/{model}/{dataset}/{shard}-of-{shards}.tsv"
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_sinks"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options(
            "sinks", "inputs", "length", "sequences", "bos", "batch_tokens", "seed"
        ),
    script:
        "../scripts/extract_sinks.py"


rule select_pairs:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        library=library("select_pairs"),
    output:
        pairs=f"{ACTIVATIONS}/pairs/{{dataset}}.parquet",
        report=f"results/metrics/{{model}}/relation_pairs/{{dataset}}.parquet",
    log:
        "results/logs/select_pairs/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/select_pairs/{model}/{dataset}.tsv"
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    params:
        options=lambda wildcards: options("head_categories", "leading_space", "minimum_pairs"),
    script:
        "../scripts/select_pairs.py"


rule extract_head_mappings:
    input:
        model="results/models/{model}",
        pairs=f"{ACTIVATIONS}/pairs/{{dataset}}.parquet",
        library=library("extract_head_mappings"),
    output:
        f"{ACTIVATIONS}/head_mappings/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_head_mappings/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_head_mappings/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 10
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_head_mappings"),
    params:
        device=lambda wildcards: MODELS[wildcards.model]["device"],
        options=lambda wildcards: {
            "first_mlp": for_model("head_categories", "first_mlp", wildcards.model),
            **options("head_categories", "k_max", "memory_mb"),
        },
    script:
        "../scripts/extract_head_mappings.py"


rule extract_head_ablations:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        library=library("extract_head_ablations"),
    output:
        f"{ACTIVATIONS}/head_ablations/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_head_ablations/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_head_ablations/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 40
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_head_ablations"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options(
            "safety_heads", "template", "ablations", "epsilon", "max_rows"
        ),
    script:
        "../scripts/extract_head_ablations.py"


rule search_head_groups:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        ranks="results/metrics/{model}/safety_heads/{dataset}.parquet",
        library=library("search_head_groups"),
    output:
        "results/metrics/{model}/head_groups/{dataset}.parquet",
    log:
        "results/logs/search_head_groups/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/search_head_groups/{model}/{dataset}.tsv"
    priority: 40
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("search_head_groups"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: {
            **options("safety_heads", "template", "ablations", "epsilon"),
            **options("head_groups", "rank", "candidates", "size", "max_rows"),
        },
    script:
        "../scripts/search_head_groups.py"


rule generate_ablated:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        ranks="results/metrics/{model}/safety_heads/{dataset}.parquet",
        library=library("generate_ablated"),
    output:
        f"{ACTIVATIONS}/ablated_answers/{{dataset}}.parquet",
    log:
        "results/logs/generate_ablated/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/generate_ablated/{model}/{dataset}.tsv"
    priority: 40
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("generate_ablated"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: {
            **options("safety_heads", "ablations", "epsilon"),
            **options(
                "ablation_effect",
                "template",
                "heads",
                "rank",
                "draws",
                "new_tokens",
                "max_rows",
                "seed",
            ),
        },
    script:
        "../scripts/generate_ablated.py"


rule extract_hidden_states:
    input:
        model="results/models/{model}",
        samples=qa_samples,
        library=library("extract_hidden_states"),
    output:
        f"{ACTIVATIONS}/hidden_states/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_hidden_states/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_hidden_states/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 30
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_hidden_states"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options("saliency", "batch_tokens"),
    script:
        "../scripts/extract_hidden_states.py"


rule extract_saliency:
    input:
        model="results/models/{model}",
        samples=qa_samples,
        probe="results/metrics/{model}/probe/{dataset}.safetensors",
        library=library("extract_saliency"),
    output:
        f"{ACTIVATIONS}/saliency/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_saliency/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_saliency/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 30
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_saliency"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options("saliency", "loss", "batch_tokens", "block"),
    script:
        "../scripts/extract_saliency.py"


# extraction -> the analysis whose `shards` cut it
EXTRACTIONS = {
    "hidden_states": "saliency",
    "saliency": "saliency",
    "attention": "meaningless_tokens",
    "sinks": "sinks",
    "head_mappings": "head_categories",
    "token_logprobs": "mink",
    "head_ablations": "safety_heads",
}


rule gather_shards:
    input:
        shards=lambda wildcards: shard_files(
            f"results/activations/{wildcards.model}/{wildcards.extraction}/{wildcards.dataset}",
            EXTRACTIONS[wildcards.extraction],
        ),
        library=library("gather_shards"),
    output:
        f"{ACTIVATIONS}/{{extraction}}/{{dataset}}.safetensors",
    log:
        "results/logs/gather_shards/{model}/{extraction}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/gather_shards/{model}/{extraction}/{dataset}.tsv"
    wildcard_constraints:
        extraction=any_of(EXTRACTIONS),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    script:
        "../scripts/gather_shards.py"


rule generate_answers:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        library=library("generate_answers"),
    output:
        f"{ACTIVATIONS}/answers/{{dataset}}/{{shard}}-of-{{shards}}.parquet",
    log:
        "results/logs/generate_answers/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/generate_answers/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 20
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("generate_answers"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options("mink", "predictions", "template", "system"),
        journal=f"{ACTIVATIONS}/.unfinished/answers/{{dataset}}/{{shard}}-of-{{shards}}.jsonl",
    script:
        "../scripts/generate_answers.py"


rule generate_qa_answers:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        demonstrations=lambda wildcards: in_project(ANALYSES["saliency"]["demonstrations"]),
        library=library("generate_qa_answers"),
    output:
        f"{ACTIVATIONS}/qa_answers/{{dataset}}/{{shard}}-of-{{shards}}.parquet",
    log:
        "results/logs/generate_qa_answers/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/generate_qa_answers/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 30
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("generate_qa_answers"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options("saliency", "prompt", "max_new_tokens", "batch_size"),
        journal=f"{ACTIVATIONS}/.unfinished/qa_answers/{{dataset}}/{{shard}}-of-{{shards}}.jsonl",
    script:
        "../scripts/generate_qa_answers.py"


# answers -> the analysis whose `shards` cut them
ANSWERS = {"answers": "mink", "qa_answers": "saliency"}


rule gather_answers:
    input:
        shards=lambda wildcards: shard_files(
            f"results/activations/{wildcards.model}/{wildcards.answers}/{wildcards.dataset}",
            ANSWERS[wildcards.answers],
            "parquet",
        ),
        library=library("gather_answers"),
    output:
        f"{ACTIVATIONS}/{{answers}}/{{dataset}}.parquet",
    log:
        "results/logs/gather_answers/{model}/{answers}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/gather_answers/{model}/{answers}/{dataset}.tsv"
    wildcard_constraints:
        answers=any_of(ANSWERS),
    conda:
        "../envs/atlas.yaml"
    resources:
        **asks_light(),
    script:
        "../scripts/gather_answers.py"


rule extract_exact_answers:
    input:
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        answers=f"{ACTIVATIONS}/qa_answers/{{dataset}}.parquet",
        demonstrations=lambda wildcards: in_project(ANALYSES["saliency"]["demonstrations"]),
        stop_words=lambda wildcards: in_project(ANALYSES["saliency"]["stop_words"]),
        library=library("extract_exact_answers"),
    output:
        f"{ACTIVATIONS}/qa_samples/{{dataset}}.parquet",
    log:
        "results/logs/extract_exact_answers/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/jobs/extract_exact_answers/{model}/{dataset}.tsv"
    priority: 30
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_exact_answers"),
    params:
        runtime=runtime_options,
        options=lambda wildcards: options(
            "saliency",
            "prompt",
            "max_new_tokens",
            "batch_size",
            "match",
            "samples",
            "seed",
            "self_extraction",
        ),
        journal=f"{ACTIVATIONS}/.unfinished/qa_samples/{{dataset}}.jsonl",
    script:
        "../scripts/extract_exact_answers.py"


rule extract_token_logprobs:
    input:
        unpack(answers_input(lambda: "prediction" in ANALYSES["mink"]["texts"])),
        model="results/models/{model}",
        dataset="results/datasets/{dataset}.parquet",
        library=library("extract_token_logprobs"),
    output:
        f"{ACTIVATIONS}/token_logprobs/{{dataset}}/{{shard}}-of-{{shards}}.safetensors",
    log:
        "results/logs/extract_token_logprobs/{model}/{dataset}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/jobs/extract_token_logprobs/{model}/{dataset}/{shard}-of-{shards}.tsv"
    priority: 10
    conda:
        "../envs/atlas.yaml"
    threads: model_threads
    resources:
        **asks("extract_token_logprobs"),
    params:
        runtime=lambda wildcards: {**runtime_options(wildcards), "dtype": logprob_dtype(wildcards)},
        options=lambda wildcards: options(
            "mink", "texts", "template", "system", "max_tokens", "batch_tokens"
        ),
    script:
        "../scripts/extract_token_logprobs.py"
