"""The work of the stages of Min-K%."""

from atlas.analyses.mink.context_batches import context_batch
from atlas.planning.estimates import (
    DECODE,
    ROW_TOKENS,
    TREE,
    Batch,
    Job,
    Memory,
    Stage,
    activations,
    answering,
    forward,
    logits,
    tokens_at_once,
)


def _asked(job: Job) -> float:
    """Questions that are answered: all, or those of so many graphs."""
    graphs = job.options["predictions"].get("questions")
    return min(TREE * graphs, job.rows) if graphs else job.rows


def _answers(job: Job) -> float:
    return forward(job, _asked(job) * (ROW_TOKENS + DECODE * max(job.options["predictions"]["max_new_tokens"])))


def _answers_memory(job: Job) -> Memory:
    predictions = job.options["predictions"]
    return answering(job, predictions["batch_size"], ROW_TOKENS, ROW_TOKENS + max(predictions["max_new_tokens"]))


def _context(job: Job) -> float:
    """A question of depth 2 or 3 (three of a graph) behind about four others with their answers, under two kinds of
    prompts."""
    asked = 2 * 3 * _asked(job) / TREE
    return forward(job, asked * (5 * ROW_TOKENS + DECODE * max(job.options["predictions"]["max_new_tokens"])))


def _context_memory(job: Job) -> Memory:
    predictions, prompt = job.options["predictions"], 5 * ROW_TOKENS
    return answering(job, context_batch(predictions["batch_size"]), prompt, prompt + max(predictions["max_new_tokens"]))


def _scores_memory(job: Job) -> Memory:
    """A batch, or the logits of its tokens beside their last states."""
    tokens = job.options["batch_tokens"]
    states = 2 * tokens * job.size.width * job.bytes / 1e6
    return Memory(max(activations(job, tokens), logits(job, tokens) + states))


STAGES = {
    "generate_answers": Stage(
        analyses=("mink",),
        memory=_answers_memory,
        batch=Batch("batch_size", 64, inside="predictions"),
        flops=_answers,
    ),
    "generate_context_answers": Stage(
        analyses=("mink",),
        memory=_context_memory,
        batch=Batch("batch_size", 64, inside="predictions"),
        flops=_context,
    ),
    "extract_token_logprobs": Stage(
        analyses=("mink",),
        memory=_scores_memory,
        # What fits a CPU's cache: 4096 takes a fifth longer there.
        batch=tokens_at_once(1024),
        flops=lambda job: forward(job, len(job.options["texts"]) * job.rows * ROW_TOKENS),
    ),
    "extract_membership": Stage(
        analyses=("membership",),
        memory=_scores_memory,
        batch=tokens_at_once(1024),
        flops=lambda job: forward(job, (1 + job.options["lowercase"]) * job.rows * ROW_TOKENS),
    ),
}
