"""The work of the stages of meaningless tokens."""

from atlas.planning.estimates import ROW_TOKENS, Job, Memory, Stage, activations, forward, scores, tokens_at_once


def _tokens(job: Job) -> int:
    return min(job.options["max_tokens"], ROW_TOKENS)


def _memory(job: Job) -> Memory:
    """A batch, a tile of its scores with and without the span, and of all layers three sums and the mass."""
    tokens = job.options["batch_tokens"]
    sums = 4 * tokens * job.size.heads * 4 / 1e6
    return Memory(activations(job, tokens) + scores(job, tokens, _tokens(job), arrays=3), sums)


STAGES = {
    "extract_attention": Stage(
        analyses=("meaningless_tokens",),
        memory=_memory,
        batch=tokens_at_once(4096),
        flops=lambda job: forward(job, 2 * job.rows * _tokens(job)),
    ),
}
