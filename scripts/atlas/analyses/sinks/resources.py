"""The work of the stages of attention sinks."""

from atlas.planning.estimates import Job, Memory, Stage, activations, forward, scores, tokens_at_once


def _memory(job: Job) -> Memory:
    """A batch, a tile of its scores, and the sums and norms of all layers."""
    tokens = job.options["batch_tokens"]
    sums = tokens * (job.size.heads + 4 * job.size.layers) * 4 / 1e6
    return Memory(activations(job, tokens) + scores(job, tokens, job.options["length"]), sums)


STAGES = {
    "extract_sinks": Stage(
        analyses=("sinks",),
        memory=_memory,
        batch=tokens_at_once(4096),
        flops=lambda job: forward(job, len(job.options["inputs"]) * job.options["sequences"] * job.options["length"]),
    ),
}
