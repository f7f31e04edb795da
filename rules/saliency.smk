"""Saliency: answers, their exact tokens, hidden states, a probe, and the flow from question to answer."""

PROBE = f"{METRICS}/probe/{{dataset}}.safetensors"


use rule extract as generate_qa_answers with:
    input:
        model=MODEL,
        dataset=DATASET,
        demonstrations=saliency_file("demonstrations"),
    output:
        shard_of("qa_answers", "parquet"),
    log:
        log_of("generate_qa_answers", OF_SHARD),
    benchmark:
        costs_of("generate_qa_answers", OF_SHARD)
    priority: 30
    resources:
        **asks("generate_qa_answers", "saliency"),
    params:
        *library("extract", "saliency.jobs.generate_qa_answers"),
        job="saliency.jobs.generate_qa_answers",
        runtime=runtime("saliency"),
        chat=chat_settings("saliency", "prompt"),
        content=saliency_content("demonstrations"),
        options=options(
            "saliency", "prompt", "max_new_tokens", "batch_size", stage="generate_qa_answers"
        ),
        journal=f"{ACTIVATIONS}/.unfinished/qa_answers/{{dataset}}/{{shard}}-of-{{shards}}.jsonl",


use rule extract as extract_exact_answers with:
    input:
        model=MODEL,
        dataset=DATASET,
        answers=gathered("qa_answers", "parquet"),
        demonstrations=saliency_file("demonstrations"),
        stop_words=saliency_file("stop_words"),
    output:
        gathered("qa_samples", "parquet"),
    log:
        log_of("extract_exact_answers", OF_DATASET),
    benchmark:
        costs_of("extract_exact_answers", OF_DATASET)
    priority: 30
    resources:
        **asks("extract_exact_answers", "saliency"),
    params:
        *library("extract", "saliency.jobs.extract_exact_answers"),
        job="saliency.jobs.extract_exact_answers",
        runtime=runtime("saliency"),
        chat=chat_settings("saliency", "prompt"),
        content=saliency_content("demonstrations", "stop_words"),
        options=options(
            "saliency",
            "prompt",
            "max_new_tokens",
            "batch_size",
            "match",
            "samples",
            "seed",
            "self_extraction",
            stage="extract_exact_answers",
        ),
        journal=f"{ACTIVATIONS}/.unfinished/qa_samples/{{dataset}}.jsonl",


use rule compute as compute_qa_answers with:
    input:
        samples=qa_samples,
    output:
        **metrics("qa_answers", "qa_dropped"),
    log:
        log_of("compute_qa_answers", OF_DATASET),
    benchmark:
        costs_of("compute_qa_answers", OF_DATASET)
    params:
        *library("compute", "saliency.jobs.compute_qa_answers"),
        job="saliency.jobs.compute_qa_answers",
        tables=columns("qa_answers", "qa_dropped"),
        answers_from=lambda wildcards: answers_from(wildcards.model),


use rule extract as extract_hidden_states with:
    input:
        model=MODEL,
        samples=qa_samples,
    output:
        shard_of("hidden_states"),
    log:
        log_of("extract_hidden_states", OF_SHARD),
    benchmark:
        costs_of("extract_hidden_states", OF_SHARD)
    priority: 30
    resources:
        **asks("extract_hidden_states", "saliency"),
    params:
        *library("extract", "saliency.jobs.extract_hidden_states"),
        job="saliency.jobs.extract_hidden_states",
        runtime=runtime("saliency"),
        options=options("saliency", "batch_tokens", stage="extract_hidden_states"),


use rule compute as train_probe with:
    input:
        activations=gathered("hidden_states"),
        samples=qa_samples,
    output:
        PROBE,
    log:
        log_of("train_probe", OF_DATASET),
    benchmark:
        costs_of("train_probe", OF_DATASET)
    priority: 30
    params:
        *library("compute", "saliency.jobs.train_probe"),
        job="saliency.jobs.train_probe",
        options=options("saliency", "probe", "confidence", "seed"),


# Apart from training, so that a new column in the table runs no backward pass again.
use rule compute as compute_probe_auroc with:
    input:
        probe=PROBE,
        samples=qa_samples,
    output:
        **metrics("probe_auroc"),
    log:
        log_of("compute_probe_auroc", OF_DATASET),
    benchmark:
        costs_of("compute_probe_auroc", OF_DATASET)
    params:
        *library("compute", "saliency.jobs.compute_probe_auroc"),
        job="saliency.jobs.compute_probe_auroc",
        tables=columns("probe_auroc"),


use rule extract as extract_saliency with:
    input:
        model=MODEL,
        samples=qa_samples,
        probe=PROBE,
    output:
        shard_of("saliency"),
    log:
        log_of("extract_saliency", OF_SHARD),
    benchmark:
        costs_of("extract_saliency", OF_SHARD)
    priority: 30
    resources:
        **asks("extract_saliency", "saliency"),
    params:
        *library("extract", "saliency.jobs.extract_saliency"),
        job="saliency.jobs.extract_saliency",
        runtime=runtime("saliency"),
        options=options("saliency", "loss", "batch_tokens", "block", stage="extract_saliency"),


use rule compute as compute_saliency with:
    input:
        activations=gathered("saliency"),
        samples=qa_samples,
        probe=PROBE,
    output:
        **metrics("saliency", "saliency_layers", "head_saliency", "saliency_mixture"),
    log:
        log_of("compute_saliency", OF_DATASET),
    benchmark:
        costs_of("compute_saliency", OF_DATASET)
    params:
        *library("compute", "saliency.jobs.compute_saliency"),
        job="saliency.jobs.compute_saliency",
        tables=columns("saliency", "saliency_layers", "head_saliency", "saliency_mixture"),
        options=options(
            "saliency", "loss", "reduction", "heads", "layers", "confidence", "bootstrap", "seed"
        ),
