"""The work of the stages of safety heads."""

from atlas.planning.estimates import DECODE, Job, Memory, Stage, activations, answering, forward

_TOKENS = 64  # of a prompt
# (head, prompt) pairs at once where max_rows is left open: ablations make them as many as fit the memory that is free.
_PAIRS, _ANSWERS = 128, 128


def _variants(job: Job) -> int:
    selections = 1 + job.options["draws"] + bool(job.options["own_heads"])
    return len(job.options["ablations"]) * selections * len(job.options["heads"])


def _ablated(job: Job) -> Memory:
    """The pairs that are run at once, or their attention where it is uniform, in float32; or their logits, and the
    clean ones in float64 twice."""
    pairs, size = job.options["max_rows"] or _PAIRS, job.size
    uniform = pairs * _TOKENS * (6.5 * size.queries + 4.2 * size.kv_width) * 4 / 1e6
    last = (pairs * job.bytes + min(pairs, job.rows) * 16) * size.vocabulary / 1e6
    return Memory(max(activations(job, pairs * _TOKENS), uniform, last))


def _answers(job: Job) -> Memory:
    rows = job.options["max_rows"] or _ANSWERS
    return answering(job, rows, _TOKENS, _TOKENS + job.options["new_tokens"])


STAGES = {
    "extract_head_ablations": Stage(
        analyses=("safety_heads",),
        memory=_ablated,
        wide=True,  # a model in half precision is loaded again to measure what that changes
        # Every head is ablated for every prompt, and on average half the layers follow it.
        flops=lambda job: forward(job, job.rows * _TOKENS * job.size.heads * len(job.options["ablations"]) / 2),
    ),
    "search_head_groups": Stage(
        analyses=(
            "safety_heads",
            "head_groups",
        ),
        memory=_ablated,
        flops=lambda job: forward(
            job, job.rows * _TOKENS * job.options["candidates"] * job.options["size"] * len(job.options["ablations"])
        ),
    ),
    "generate_ablated": Stage(
        analyses=(
            "safety_heads",
            "ablation_effect",
        ),
        memory=_answers,
        flops=lambda job: forward(job, job.rows * _variants(job) * (_TOKENS + DECODE * job.options["new_tokens"])),
    ),
}
