"""The work of the stages of saliency."""

from atlas.planning.estimates import DECODE, ROW_TOKENS, Job, Stage, activations, batched, cache, forward, logits

# Short answers to questions, few-shot: the same again where the model is asked for the exact answer inside each.
_SHORT_ANSWERS = Stage(
    analyses=("saliency",),
    memory=lambda job: cache(job, job.options["batch_size"] * 512) + logits(job, 256),
    flops=lambda job: forward(job, job.rows * (ROW_TOKENS + DECODE * job.options["max_new_tokens"])),
)

# Tokens of question and answer behind the prefix that all texts of saliency share.
_SALIENCY_TOKENS = 64


def _graph(job: Job) -> float:
    """MB of a batch's states in all layers at once, its keys and values with the prefix, and the answers' logits."""
    tokens = job.options["batch_tokens"]
    return job.size.layers * activations(job, tokens) + cache(job, 16 * tokens) + logits(job, tokens / 4)


STAGES = {
    "generate_qa_answers": _SHORT_ANSWERS,
    "extract_exact_answers": _SHORT_ANSWERS,
    "extract_hidden_states": Stage(
        analyses=("saliency",),
        memory=lambda job: batched(job) + cache(job, 16 * job.options["batch_tokens"]),
        flops=lambda job: forward(job, job.options["samples"] * _SALIENCY_TOKENS),
    ),
    "extract_saliency": Stage(
        analyses=("saliency",),
        memory=_graph,
        # A forward pass and up to two backward passes of about twice its work.
        flops=lambda job: forward(job, 5 * job.options["samples"] * _SALIENCY_TOKENS),
    ),
}
