"""The work of the stages of saliency."""

from collections.abc import Sequence

from atlas.planning.estimates import (
    DECODE,
    ROW_TOKENS,
    Batch,
    Job,
    Memory,
    Stage,
    activations,
    answering,
    cache,
    forward,
    read_cache,
    tokens_at_once,
)

# Of a text of saliency: all of it; question and answer behind the prefix that all share; one answer token in so many
# of these. Short answers are asked for in as many tokens.
_WHOLE, _TOKENS, _ANSWER = 1024, 64, 8
_PROMPT = 128  # tokens of a prompt with marked parts

# Short answers to questions, few-shot: the same again where the model is asked for the exact answer inside each.
_SHORT_ANSWERS = Stage(
    analyses=("saliency",),
    memory=lambda job: answering(job, job.options["batch_size"], _TOKENS, 512),
    flops=lambda job: forward(job, job.rows * (ROW_TOKENS + DECODE * job.options["max_new_tokens"])),
    batch=Batch("batch_size", 64),
)


def _cached(job: Job) -> float:
    """Tokens of a batch with what each begins with, which stands in the cache for each of them and once by itself."""
    return job.options["batch_tokens"] * _WHOLE / _TOKENS + _WHOLE - _TOKENS


def _hidden_states(job: Job) -> Memory:
    tokens = _cached(job)
    single = max(activations(job, job.options["batch_tokens"]), read_cache(job, tokens) + _residuals(job, 5))
    return Memory(single, cache(job, tokens))


def _residuals(job: Job, number: float) -> float:
    return job.options["batch_tokens"] * number * job.size.width * job.bytes / 1e6


def _probed(job: Job) -> Memory:
    tile = job.options["batch_tokens"] * job.size.heads / job.size.layers * _WHOLE * (4 + job.copies) / 1e6
    return _graph(job, job.options["loss"], cached=_cached(job), tile=tile, answer=_ANSWER)


def _spans(job: Job) -> Memory:
    """No start is shared, the flows begin with the text. Seven arrays of a batch's scores: every token is a source."""
    tokens = job.options["batch_tokens"]
    tile = tokens * job.size.heads / job.size.layers * _PROMPT * 28 / 1e6
    return _graph(job, ["answer_nll"], cached=tokens, tile=tile, answer=_PROMPT)


def _graph(job: Job, losses: Sequence[str], *, cached: float, tile: float, answer: int) -> Memory:
    """A batch's states in all layers at once, its keys and values; then a tile of scores, or the answers' logits.

    In half precision the norms keep copies in float32. Keys and values that several heads share are kept for each head.
    A graph is given up with its last loss: with two of them the first one's sums are taken beside all of it.
    cached: tokens in the cache; tile: MB of the scores; answer: one token of an answer in so many of a batch.
    """
    size, tokens = job.size, job.options["batch_tokens"]
    likelihood, probe = "answer_nll" in losses, losses != ["answer_nll"]
    copied = read_cache(job, cached) - cached * 2 * size.kv_width * job.bytes / 1e6
    states = activations(job, tokens) + (_residuals(job, 3.5) if job.bytes < 4 else 0)
    answers = tokens / answer * size.vocabulary * (4 + job.copies) / 1e6 if likelihood else 0
    kept = size.layers * (states + copied)
    if likelihood and probe:
        return Memory(max(answers, tile + answers / 2), cache(job, cached) + kept)
    outputs = size.layers * tokens * 2 * size.queries * job.bytes / 1e6
    if kept + answers > outputs + tile:
        return Memory(answers, cache(job, cached) + kept)
    return Memory(tile, cache(job, cached) + outputs)


STAGES = {
    "generate_qa_answers": _SHORT_ANSWERS,
    "extract_exact_answers": _SHORT_ANSWERS,
    "extract_hidden_states": Stage(
        analyses=("saliency",),
        memory=_hidden_states,
        batch=tokens_at_once(512),
        flops=lambda job: forward(job, min(job.options["samples"], job.rows) * _TOKENS),
    ),
    "extract_saliency": Stage(
        analyses=("saliency",),
        memory=_probed,
        batch=tokens_at_once(512),
        # A forward pass and up to two backward passes of about twice its work.
        flops=lambda job: forward(job, 5 * min(job.options["samples"], job.rows) * _TOKENS),
    ),
    "extract_span_saliency": Stage(
        analyses=("span_saliency",),
        memory=_spans,
        batch=tokens_at_once(512),
        flops=lambda job: forward(job, 3 * job.rows * _PROMPT),
    ),
}
