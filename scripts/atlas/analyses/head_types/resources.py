"""The work of the stages of head types."""

from atlas.planning.estimates import Job, Memory, Stage, activations, forward, scores, tokens_at_once


def _memory(job: Job) -> Memory:
    """A batch and a tile of its scores; what is kept of a head is one number for each type."""
    tokens = job.options["batch_tokens"]
    return Memory(activations(job, tokens) + scores(job, tokens, 2 * job.options["length"]))


STAGES = {
    "extract_head_types": Stage(
        analyses=("head_types",),
        memory=_memory,
        batch=tokens_at_once(4096),
        flops=lambda job: forward(job, job.options["sequences"] * 2 * job.options["length"]),
    ),
}
