"""Greedy answers to many prompts: batched, with a KV cache, the same for any number of shards."""

from dataclasses import asdict, dataclass

import torch

from atlas.analyses.shards import shard_of
from atlas.errors import AtlasError


@dataclass(frozen=True)
class Prompt:
    """number: row of the data set; ids: token ids; max_new_tokens: where its answer is cut off."""

    number: int
    ids: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Answer:
    """number: row of the data set; ids: tokens of the answer without the one that ended it; stop: "end" (the model
    ended it) or "length" (it was cut off at max_new_tokens); prompt_tokens: tokens of its prompt."""

    number: int
    ids: tuple[int, ...]
    stop: str
    prompt_tokens: int


def generation_batches(prompts, size):
    """Index lists of at most `size` prompts with the same max_new_tokens and similar length, longest answers first."""
    order = sorted(range(len(prompts)), key=lambda i: (-prompts[i].max_new_tokens, len(prompts[i].ids), i))
    groups = []
    for index in order:
        if groups and len(groups[-1]) < size and prompts[groups[-1][0]].max_new_tokens == prompts[index].max_new_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def end_tokens(model, tokenizer):
    """Ids of the tokens that end an answer: the model's and the tokenizer's."""
    own = getattr(model.generation_config, "eos_token_id", None)
    own = own if isinstance(own, list | tuple) else [own]
    return sorted({token for token in (*own, tokenizer.eos_token_id) if token is not None})


def generate(model, prompts, ends, *, batch_size, shard=1, shards=1, journal=None, progress=iter):
    """[Answer] to the prompts ([Prompt]) of one shard, by number. `ends`: ids that end an answer.

    `journal` (atlas.journal.Journal) keeps each finished batch, so that a job that was killed goes on from there.
    """
    found = []
    for group in progress(shard_of(generation_batches(prompts, batch_size), shard, shards)):
        name = str(prompts[group[0]].number)
        if journal is not None and name in journal:
            found += [Answer(**{**kept, "ids": tuple(kept["ids"])}) for kept in journal[name]]
            continue
        answers = generate_batch(model, [prompts[i] for i in group], ends)
        if journal is not None:
            journal.add(name, [asdict(answer) for answer in answers])
        found += answers
    return sorted(found, key=lambda answer: answer.number)


def generate_batch(model, prompts, ends):
    """[Answer] to prompts that share max_new_tokens. Prompts are padded on the left, under a mask."""
    from transformers import GenerationConfig, LogitsProcessorList

    from atlas.models.finite import FiniteLogits

    device = next(model.parameters()).device
    width = max(len(prompt.ids) for prompt in prompts)
    longest = width + prompts[0].max_new_tokens
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context and longest > context:
        raise AtlasError(
            f"a prompt of {width} tokens and {prompts[0].max_new_tokens} new ones do not fit into the model's "
            f"context of {context} tokens; lower analyses.mink.predictions.max_new_tokens."
        )
    pad = ends[0] if ends else 0
    ids = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    # A configuration of our own: the model's may ask for sampling or penalties.
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=prompts[0].max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=pad,
        use_cache=True,
    )
    own, model.generation_config = model.generation_config, greedy
    try:
        with torch.no_grad():
            written = model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=greedy,
                logits_processor=LogitsProcessorList([FiniteLogits(model, [prompt.ids for prompt in prompts])]),
            )
    finally:
        model.generation_config = own
    rows = written[:, width:].tolist()
    return [_answer(prompt, row, set(ends)) for prompt, row in zip(prompts, rows, strict=True)]


def _answer(prompt, row, ends):
    stop = next((i for i, token in enumerate(row) if token in ends), None)
    ids = row if stop is None else row[:stop]
    return Answer(prompt.number, tuple(ids), "length" if stop is None else "end", len(prompt.ids))
