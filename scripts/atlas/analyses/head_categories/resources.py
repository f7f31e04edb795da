"""The work of the stages of head categories."""

from atlas.planning.estimates import PAIRS, Job, Stage


def _mappings_memory(job: Job) -> float:
    """One layer, embedding and unembedding in float32, and the option memory_mb."""
    layer, matrices = 12 * job.size.width**2, 3 * job.size.vocabulary * job.size.width
    return job.options.get("memory_mb", 1024) + (layer + matrices) * 4 / 1e6


def _mappings_flops(job: Job) -> float:
    return job.size.heads * 2.0 * job.size.head_width * job.size.vocabulary * (job.size.width + PAIRS)


STAGES = {
    "extract_head_mappings": Stage(
        analyses=("head_categories",), memory=_mappings_memory, flops=_mappings_flops, whole_model=False
    ),
}
