"""The work of the stages of head categories."""

from atlas.planning.estimates import PAIRS, Job, Memory, Stage

_GPU_TILE = 8192 * 4096  # logits that are compared at once on a GPU (logit_ranks.py)


def _mappings_memory(job: Job) -> Memory:
    """Embedding and unembedding and the option memory_mb, in float32; on a GPU two tiles, on a CPU one layer.

    memory_mb bounds the products of all heads that are mapped at once; those of one layer are the most there is.
    """
    size, bound = job.size, job.options.get("memory_mb", 1024)
    matrices = size.vocabulary * size.width
    if not job.gpu:
        return Memory(bound + (12 * size.width**2 + 3 * matrices) * 4 / 1e6)
    heads = min(bound * 1.05, size.vocabulary * size.queries * 4 / 1e6)
    return Memory(heads + (2 * matrices + size.mlp * size.width + 2 * _GPU_TILE) * 4 / 1e6)


def _mappings_flops(job: Job) -> float:
    return job.size.heads * 2.0 * job.size.head_width * job.size.vocabulary * (job.size.width + PAIRS)


STAGES = {
    "extract_head_mappings": Stage(
        analyses=("head_categories",), memory=_mappings_memory, flops=_mappings_flops, whole_model=False
    ),
}
