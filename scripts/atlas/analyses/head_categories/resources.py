"""The work of the stages of head categories."""

from atlas.planning.estimates import DECODE, Job, Memory, Stage, activations, answering, forward

_GPU_TILE = 8192 * 4096  # logits that are compared at once on a GPU (logit_ranks.py)


def _mappings_memory(job: Job) -> Memory:
    """Embedding and unembedding and the option memory_mb, in float32; on a GPU two tiles, on a CPU one layer.

    Salient operations hold what the layers read of the whole vocabulary, too.

    memory_mb bounds the products of all heads that are mapped at once; those of one layer are the most there is.
    """
    size, bound = job.size, job.options.get("memory_mb", 1024)
    matrices = size.vocabulary * size.width
    states = 2 * matrices if job.options.get("salient_tokens") else 0
    if not job.gpu:
        return Memory(bound + (12 * size.width**2 + 3 * matrices + states) * 4 / 1e6)
    heads = min(bound * 1.05, size.vocabulary * size.queries * 4 / 1e6)
    return Memory(heads + (2 * matrices + states + size.mlp * size.width + 2 * _GPU_TILE) * 4 / 1e6)


def _mappings_flops(job: Job) -> float:
    return job.size.heads * 2.0 * job.size.head_width * job.size.vocabulary * (job.size.width + job.rows)


_TOKENS = 24  # of a prompt that asks for a relation
_PAIRS_AT_ONCE = 128


def _asked(job: Job, most: int) -> float:
    """Pairs of all relations, at most so many of each."""
    return min(job.relations * most, job.rows)


def _sets(job: Job) -> float:
    """Sets of heads that are ablated on the prompts of one relation."""
    return len(job.options["heads"]) * (1 + job.options["draws"] + job.options["others"])


def _completing(job: Job) -> Memory:
    """What stands before the last token of the prompts, then that cache beside its copies for the sets at once."""
    rows = job.options["max_rows"] or _PAIRS_AT_ONCE
    before = answering(job, min(rows, job.options["prompts"]), _TOKENS, _TOKENS)
    return max(before, answering(job, rows, 1, 2 * _TOKENS), key=lambda memory: memory.total)


def _completing_flops(job: Job) -> float:
    prompts = _asked(job, job.options["prompts"])
    one = _TOKENS if job.options["positions"] == "all" else DECODE
    whole = 3 if job.options["ablation"] == "mean" else 2
    return forward(job, prompts * (whole * _TOKENS + one * _sets(job)))


_HELD = 1 << 30  # bytes of outputs that are projected together (dynamic.py); below: of top_hits.py
_TOP, _EVERY = 10, (32, 4)  # so many of the top count, and every so many entries are tried first


def _watching(job: Job) -> Memory:
    """The unembedding in float32, beside a batch with what attention took and gave in every layer, or a layer's heads.

    Of these: their outputs, what they write, and what is left after few entries of the vocabulary.
    """
    size, tokens = job.size, (job.options["max_rows"] or _PAIRS_AT_ONCE) * _TOKENS
    kept = tokens * size.layers * 2 * (size.queries + size.kv_width) * job.bytes
    heads = size.heads / size.layers
    rows = 2 * min(_watched(job), _HELD / (8 * size.heads * size.head_width))
    left, last = (rows * heads * min(1.0, 2 * _TOP * every / size.vocabulary) for every in _EVERY)
    numbers = rows * (size.queries + (heads + 1) * size.width) + left * size.width
    numbers += min(last, 4096) * 8192 if job.gpu else 0  # a tile of logits_ranks.count
    written = 4 * (numbers + size.vocabulary / _EVERY[0] * size.queries)
    return Memory(4 * size.vocabulary * size.width / 1e6 + max(activations(job, tokens) + kept / 1e6, written / 1e6))


def _watched(job: Job) -> float:
    """Prompts of all relations."""
    return _asked(job, job.options["pairs"]) * len(job.options["templates"])


def _watching_flops(job: Job) -> float:
    """Prompts, and what heads write of them in both contexts, mostly against few entries of the vocabulary."""
    size = job.size
    projected = 2 * size.heads * 2.0 * size.width * size.vocabulary / 100
    return forward(job, _watched(job) * _TOKENS) + _watched(job) * projected


STAGES = {
    "complete_relations": Stage(
        analyses=("head_categories", "relation_effect"), memory=_completing, flops=_completing_flops
    ),
    "extract_relation_hits": Stage(analyses=("relation_dynamic",), memory=_watching, flops=_watching_flops),
    "extract_head_mappings": Stage(
        analyses=("head_categories",), memory=_mappings_memory, flops=_mappings_flops, whole_model=False
    ),
}
