"""Log-probabilities of the scored tokens of texts, with what Min-K%++ needs (the part that runs the model)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.mink import storage
from atlas.data.tokens import common_prefix
from atlas.models.architectures import decoder_stack
from atlas.models.batches import Batches
from atlas.models.finite import require_finite
from atlas.models.next_token import check_head, token_statistics
from atlas.models.shared_prefix import continued, padded, prefix_cache, shares
from atlas.models.transfers import sent
from atlas.results.shards import batches, shard_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from atlas.analyses.mink.scored_texts import ScoredText
    from atlas.analyses.types import KeysAndValues, Progress

# Texts that share fewer leading tokens are run whole: with a cache the attention needs a mask, which costs as much.
_SHARED = 8


def extract(
    model: PreTrainedModel,
    texts: Mapping[str, Sequence[ScoredText]],
    *,
    batch_tokens: int,
    shard: int = 1,
    shards: int = 1,
    progress: Progress = iter,
) -> dict[str, np.ndarray]:
    """The arrays of storage of one shard. `texts`: {kind of text: [ScoredText]}.

    Raises AtlasError for a family whose logits this workflow does not reproduce.
    """
    check_head(model)
    parts: list[dict[str, np.ndarray]] = []
    fitted = Batches("batch_tokens", shorten="max_tokens")
    for text, sequences in texts.items():
        start = shared_context(sequences) if shares(model) else 0
        groups = batches([len(sequence.ids) - start for sequence in sequences], batch_tokens)
        parts.append(storage.empty(text))
        shared = prefix_cache(model, sequences[0].ids[:start])
        for group in progress(shard_of(groups, shard, shards)):
            chosen = [sequences[i] for i in group]
            for found in fitted.run(partial(batch_logprobs, model, shared=shared), chosen):
                parts.append({f"{text}.{name}": array for name, array in found.items()})
    return storage.merge(parts)


def shared_context(sequences: Sequence[ScoredText]) -> int:
    """Leading tokens that all texts share and whose next token is scored in none (a chat template's, say); 0 if few."""
    start = min(max(1, sequence.scored.index(True)) for sequence in sequences) - 1
    start = min(common_prefix(sequences[0].ids[:start], sequence.ids) for sequence in sequences)
    return start if start >= _SHARED else 0


def batch_logprobs(
    model: PreTrainedModel, sequences: Sequence[ScoredText], shared: KeysAndValues = ()
) -> dict[str, np.ndarray]:
    """{number, tokens, lp, mu, sigma, rank} of one batch of ScoredText, as in storage.

    shared: what the texts begin with, of which nothing is scored, as from shared_prefix.prefix_cache. The rows are
    padded on the right without a mask: under causal attention nothing reads what comes later, and without a mask (and
    a cache) the attention takes its fast path.
    """
    start = shared[0][0].shape[2] if shared else 0
    ids = padded(model, [sequence.ids for sequence in sequences], start)
    scored = torch.zeros(ids.shape, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        scored[row, : len(sequence.ids) - start] = torch.tensor(sequence.scored[start:])
    scored[:, 0] = False  # nothing that is run here predicts the first token
    rows, places = scored.nonzero(as_tuple=True)  # on the CPU, which needs no wait for a GPU
    with torch.no_grad():
        cache = {"past_key_values": continued(shared, len(sequences), model)} if shared else {}
        states = decoder_stack(model)(input_ids=ids, use_cache=bool(shared), **cache).last_hidden_state
        # The state at i predicts token i + 1. Indexing copies, so the head reads contiguous rows.
        states = states[sent(rows, states.device), sent(places, states.device) - 1]
        require_finite(states, model, [sequence.ids for sequence in sequences], "the last hidden state")
        values = token_statistics(model, states, ids[sent(rows, ids.device), sent(places, ids.device)])
    arrays = {name: value.numpy() for name, value in zip(storage.PER_TOKEN, values, strict=True)}
    return {
        "number": np.array([sequence.number for sequence in sequences], np.int32),
        "tokens": scored.sum(1).to(torch.int32).numpy(),
        **arrays,
    }
