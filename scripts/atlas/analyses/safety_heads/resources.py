"""The work of the stages of safety heads."""

from atlas.planning.estimates import DECODE, Job, Stage, activations, cache, forward


def _variants(job: Job) -> int:
    return len(job.options["ablations"]) * (1 + job.options["draws"]) * len(job.options["heads"])


STAGES = {
    "extract_head_ablations": Stage(
        analyses=("safety_heads",),
        # A model in half precision is loaded again in float32 at the end, to measure what that changes.
        memory=lambda job: activations(job, 8192) + job.size.parameters * (4 - job.bytes) / 1e6,
        # Every head is ablated for every prompt, and on average half the layers follow it.
        flops=lambda job: forward(job, job.rows * 64 * job.size.heads * len(job.options["ablations"]) / 2),
    ),
    "search_head_groups": Stage(
        analyses=(
            "safety_heads",
            "head_groups",
        ),
        memory=lambda job: activations(job, 8192),
        flops=lambda job: forward(
            job, job.rows * 64 * job.options["candidates"] * job.options["size"] * len(job.options["ablations"])
        ),
    ),
    "generate_ablated": Stage(
        analyses=(
            "safety_heads",
            "ablation_effect",
        ),
        memory=lambda job: cache(job, 128 * 128) + activations(job, 8192),
        flops=lambda job: forward(job, job.rows * _variants(job) * (64 + DECODE * job.options["new_tokens"])),
    ),
}
