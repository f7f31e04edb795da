"""Min-K% by depth: log-probabilities of the scored texts, the model's own answers and their scores, gaps."""


use rule extract as generate_answers with:
    input:
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("answers", "parquet"),
    log:
        log_of("generate_answers", OF_SHARD),
    benchmark:
        costs_of("generate_answers", OF_SHARD)
    priority: 20
    resources:
        **asks("generate_answers"),
    params:
        *library("extract", "mink.jobs.generate_answers"),
        job="mink.jobs.generate_answers",
        chat=chat_settings("mink", "template"),
        options=options("mink", "predictions", "template", "system", stage="generate_answers"),
        journal=f"{ACTIVATIONS}/.unfinished/answers/{{dataset}}/{{shard}}-of-{{shards}}.jsonl",


use rule extract as generate_context_answers with:
    input:
        model=MODEL,
        dataset=DATASET,
        answers=gathered("answers", "parquet"),
    output:
        shard_of("context_answers", "parquet"),
    log:
        log_of("generate_context_answers", OF_SHARD),
    benchmark:
        costs_of("generate_context_answers", OF_SHARD)
    priority: 20
    resources:
        **asks("generate_context_answers"),
    params:
        *library("extract", "mink.jobs.generate_context_answers"),
        job="mink.jobs.generate_context_answers",
        chat=chat_settings("mink", "template"),
        options=options(
            "mink",
            "prompts",
            "predictions",
            "template",
            "system",
            stage="generate_context_answers",
        ),
        journal=f"{ACTIVATIONS}/.unfinished/context_answers/{{dataset}}/{{shard}}-of-{{shards}}.jsonl",


use rule compute as judge_answers with:
    input:
        unpack(answers_input(lambda: ANALYSES["mink"]["judge"]["kind"] != "column")),
        unpack(context_input),
        dataset=DATASET,
    output:
        f"{METRICS}/judgements/{{dataset}}.parquet",
    log:
        log_of("judge_answers", OF_DATASET),
    benchmark:
        costs_of("judge_answers", OF_DATASET)
    resources:
        **asks_light(minutes=240),
    params:
        *library("compute", "mink.jobs.judge_answers"),
        job="mink.jobs.judge_answers",
        judge=judge_options,
        cache="results/judge_cache",


use rule extract as extract_token_logprobs with:
    input:
        unpack(answers_input(lambda: "prediction" in ANALYSES["mink"]["texts"])),
        model=MODEL,
        dataset=DATASET,
    output:
        shard_of("token_logprobs"),
    log:
        log_of("extract_token_logprobs", OF_SHARD),
    benchmark:
        costs_of("extract_token_logprobs", OF_SHARD)
    priority: 10
    resources:
        **asks("extract_token_logprobs", "mink"),
    params:
        *library("extract", "mink.jobs.extract_token_logprobs"),
        job="mink.jobs.extract_token_logprobs",
        chat=chat_settings("mink", "template"),
        runtime=runtime("mink"),
        options=options(
            "mink",
            "texts",
            "template",
            "system",
            "max_tokens",
            "batch_tokens",
            stage="extract_token_logprobs",
        ),


use rule compute as compute_mink with:
    input:
        activations=gathered("token_logprobs"),
        dataset=DATASET,
    output:
        **metrics("mink", "mink_graphs", "mink_trend"),
    log:
        log_of("compute_mink", OF_DATASET),
    benchmark:
        costs_of("compute_mink", OF_DATASET)
    params:
        *library("compute", "mink.jobs.compute_mink"),
        job="mink.jobs.compute_mink",
        tables=columns("mink", "mink_graphs", "mink_trend"),
        options=options(
            "mink", "k_percent", "min_tokens", "average", "confidence", "bootstrap", "seed"
        ),


use rule compute as compute_score_gap with:
    input:
        mink=metric("mink"),
        judgements=lambda wildcards: (
            metric("judgements").format(
                model=answers_from(wildcards.model), dataset=wildcards.dataset
            )
        ),
        dataset=DATASET,
    output:
        **metrics("score_gap", "discrepancy", "depth_accuracy"),
    log:
        log_of("compute_score_gap", OF_DATASET),
    benchmark:
        costs_of("compute_score_gap", OF_DATASET)
    params:
        *library("compute", "mink.jobs.compute_score_gap"),
        job="mink.jobs.compute_score_gap",
        tables=columns("score_gap", "discrepancy", "depth_accuracy"),
        options=options(
            "mink", "k_percent", "threshold", "successors", "by", "confidence", "bootstrap", "seed"
        ),
        text=lambda wildcards: ANALYSES["mink"]["texts"][0],
        answers_from=lambda wildcards: answers_from(wildcards.model),
