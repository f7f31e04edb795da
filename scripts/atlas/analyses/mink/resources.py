"""The work of the stages of Min-K%."""

from atlas.planning.estimates import DECODE, ROW_TOKENS, ROWS, Job, Stage, batched, cache, forward, logits


def _answers(job: Job) -> float:
    predictions = job.options["predictions"]
    asked = 7 * (predictions.get("questions") or ROWS / 7)  # a D3 question stands on two D2 and four D1 questions
    return forward(job, asked * (ROW_TOKENS + DECODE * max(predictions["max_new_tokens"])))


STAGES = {
    "generate_answers": Stage(
        analyses=("mink",),
        memory=lambda job: cache(job, job.options["predictions"]["batch_size"] * 1024) + logits(job, 256),
        flops=_answers,
    ),
    "extract_token_logprobs": Stage(
        analyses=("mink",),
        memory=lambda job: batched(job) + logits(job, job.options["batch_tokens"]),
        flops=lambda job: forward(job, len(job.options["texts"]) * job.rows * ROW_TOKENS),
    ),
}
