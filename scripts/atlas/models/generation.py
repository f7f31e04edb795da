"""Greedy answers to many prompts: batched, with a KV cache, the same for any number of shards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from atlas.data.tokens import common_prefix, special_ids, vocabulary_ids
from atlas.errors import AtlasError
from atlas.models.architectures import input_device
from atlas.models.batches import Batches
from atlas.models.finite import not_finite
from atlas.models.limits import read_limits
from atlas.models.padding import padded
from atlas.models.shared_prefix import continued, prefix_cache, remembers, shares
from atlas.models.transfers import sent
from atlas.results.shards import shard_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from atlas.models.shared_prefix import Shared, TextsCache
    from atlas.results.journal import Journal


# What configurations call the number of tokens that a layer sees.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "attention_window_size")


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


def generation_batches(prompts: Sequence[Prompt], size: int) -> list[list[int]]:
    """Index lists of at most `size` prompts with the same max_new_tokens and similar length, longest answers first."""
    order = sorted(range(len(prompts)), key=lambda i: (-prompts[i].max_new_tokens, len(prompts[i].ids), i))
    groups: list[list[int]] = []
    for index in order:
        if groups and len(groups[-1]) < size and prompts[groups[-1][0]].max_new_tokens == prompts[index].max_new_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def model_ends(model: PreTrainedModel) -> list[int]:
    """Ids of the tokens that end a text where transformers generates it: those of the model's generation_config."""
    own = getattr(model.generation_config, "eos_token_id", None)
    own = own if isinstance(own, list | tuple) else [own]
    return sorted({token for token in own if token is not None})


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, turn_ends: Iterable[int] = ()) -> list[int]:
    """Ids of the tokens that end an answer: the model's, the tokenizer's, and those of a chat template's turn."""
    own = tokenizer.eos_token_id
    return sorted({*model_ends(model), *turn_ends, *([] if own is None else [own])})


def answer_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Ids that end a short answer: every special token, and under `prompt` few_shot all tokens with a line break."""
    ends = {*end_tokens(model, tokenizer), *special_ids(tokenizer)}
    if prompt == "few_shot":
        known = vocabulary_ids(tokenizer)
        texts = tokenizer.batch_decode([[token] for token in known])
        ends.update(token for token, text in zip(known, texts, strict=True) if "\n" in text)
    return sorted(ends)


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    ends: Collection[int],
    *,
    batch_size: int,
    prefix: int = 0,
    shard: int = 1,
    shards: int = 1,
    journal: Journal | None = None,
    progress: Callable[[Sequence[list[int]]], Iterable[list[int]]] = iter,
) -> list[Answer]:
    """[Answer] to the prompts ([Prompt]) of one shard, by number. `ends`: ids that end an answer.

    prefix: number of leading ids that all prompts share; they are run once (not where a sliding window is shorter than
    the whole text: padding between prefix and question would shift it).
    `journal` (results.journal.Journal) keeps each finished batch, so that a killed job goes on from there.
    Raises AtlasError for prompts that do not fit the model's context, and for logits that are NaN or infinite.
    """
    found: list[Answer] = []
    cached: Shared | None = None
    fitted = Batches("batch_size", one="an answer", shorten="max_new_tokens")
    for group in progress(shard_of(generation_batches(prompts, batch_size), shard, shards)):
        name = str(prompts[group[0]].number)
        if journal is not None and name in journal:
            found += [Answer(**{**kept, "ids": tuple(kept["ids"])}) for kept in journal[name]]
            continue
        if cached is None:
            cached = shared_states(model, prompts, prefix)
        parts = fitted.run(partial(generate_batch, model, ends=ends, cached=cached), [prompts[i] for i in group])
        answers = [answer for part in parts for answer in part]
        if journal is not None:
            journal.add(name, [asdict(answer) for answer in answers])
        found += answers
    return sorted(found, key=lambda answer: answer.number)


def shared_beginning(prompts: Sequence[Prompt]) -> int:
    """How many leading ids all prompts share, at least one of each left over: a chat template's, say."""
    return min(common_prefix(prompts[0].ids, prompt.ids[:-1]) for prompt in prompts)


def shared_states(model: PreTrainedModel, prompts: Sequence[Prompt], prefix: int) -> Shared:
    """[(keys, values)] by layer, (1, heads, prefix, width) each, of what all prompts begin with; [] for nothing."""
    if not shares(model, padded=True) or not remembers(model):
        return []
    window = _window(model.config.get_text_config())
    longest = max(len(prompt.ids) + prompt.max_new_tokens for prompt in prompts)
    if window is not None and longest > window:
        return []
    return prefix_cache(model, prompts[0].ids[:prefix])


@torch.no_grad()
def generate_batch(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    ends: Collection[int],
    cached: Shared = (),
    *,
    keep_ended: bool = False,
) -> list[Answer]:
    """[Answer] to prompts that share max_new_tokens; `cached` as from shared_states.

    Prompts are padded on the left, under a mask. A row that has ended leaves the batch, unless `keep_ended`: for head
    edits, which are told apart by row. A family without a cache is given the whole texts again with every token.
    """
    device, again = input_device(model), not remembers(model)
    tokens, mask = left_padded(prompts, cached[0][0].shape[2] if cached else 0)
    limit, width = prompts[0].max_new_tokens, mask.shape[1]
    _check_context(model, width, limit)
    tokens, mask, last = (sent(x, device) for x in (tokens, mask, torch.tensor(sorted(ends), dtype=torch.long)))
    cache = continued(cached, len(prompts), model)
    written: list[list[int]] = [[] for _ in prompts]
    rows, stops = list(range(len(prompts))), ["length"] * len(prompts)
    for step in range(limit):
        if again:
            found = whole_logits(model, [[*prompts[row].ids, *written[row]] for row in rows])
        else:
            found = next_logits(model, tokens, mask, cache, any(len(prompts[row].ids) < width for row in rows))
        chosen = found.argmax(-1)  # NaN counts as the largest
        finite = torch.isfinite(found.gather(1, chosen[:, None])[:, 0])
        # Read back together: the one thing for which the host waits in a step.
        read, ended, sound = torch.stack([chosen, torch.isin(chosen, last).long(), finite.long()]).tolist()
        if not all(sound):
            raise not_finite(model, [prompts[row].ids for row in rows], "the next-token distribution")
        for row, token, end in zip(rows, read, ended, strict=True):
            if end:
                stops[row] = "end"
            elif stops[row] != "end":
                written[row].append(token)
        if step + 1 == limit or all(stops[row] == "end" for row in rows):
            break
        if not keep_ended and any(ended):
            kept = torch.tensor([place for place, end in enumerate(ended) if not end])
            if not again:
                cache.keep(kept)
            rows, kept = [rows[place] for place in kept.tolist()], sent(kept, device)
            chosen, mask = chosen[kept], mask[kept]
        tokens, mask = chosen[:, None], torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return [
        Answer(prompt.number, tuple(ids), stop, len(prompt.ids))
        for prompt, ids, stop in zip(prompts, written, stops, strict=True)
    ]


def next_logits(
    model: PreTrainedModel,
    tokens: Int[Tensor, "texts new_tokens"],
    mask: Int[Tensor, "texts tokens"],
    cache: TextsCache,
    padding: bool,
) -> Float[Tensor, "texts vocabulary"]:
    """Logits of what follows `tokens`, which are added to `cache`; mask: of all tokens; padding: it hides some."""
    cache.padded = padding
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    return model(
        input_ids=tokens,
        attention_mask=mask if padding else None,  # a mask that hides nothing would be read back to see it
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]


def whole_logits(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> Float[Tensor, "texts vocabulary"]:
    """Logits of what follows each of `texts` (token ids), padded on the right, without a cache.

    Under causality nothing that is read depends on the padding, so no mask is given.
    """
    ids, _ = padded(texts, "right")
    ends = torch.tensor([len(text) - 1 for text in texts])
    kept, place = ends.unique(return_inverse=True)
    device = input_device(model)
    logits = model(input_ids=sent(ids, device), use_cache=False, logits_to_keep=sent(kept, device)).logits
    place = place if logits.shape[1] == len(kept) else ends  # some families give them all
    return logits[torch.arange(len(texts), device=logits.device), sent(place, logits.device)]


def left_padded(
    prompts: Sequence[Prompt], start: int
) -> tuple[Int[Tensor, "prompts new_tokens"], Int[Tensor, "prompts tokens"]]:
    """(ids without the first `start`, mask of all), (prompts, tokens) each; padding stands after the first `start`."""
    ids, mask = padded([prompt.ids[start:] for prompt in prompts], "left")
    return ids, torch.cat([mask.new_ones(len(prompts), start), mask], dim=1)


def _window(config: PreTrainedConfig) -> int | None:
    """Number of tokens that the layer with the shortest view sees; None: all."""
    sizes = (getattr(config, name, None) for name in _WINDOWS)
    return min((size for size in sizes if size is not None), default=None)


def _check_context(model: PreTrainedModel, width: int, limit: int) -> None:
    context = read_limits(model.config.get_text_config()).tokens
    if context and width + limit > context:
        raise AtlasError(
            f"a prompt of {width} tokens and {limit} new ones do not fit into the model's context of {context} "
            "tokens; lower max_new_tokens in the configuration."
        )
