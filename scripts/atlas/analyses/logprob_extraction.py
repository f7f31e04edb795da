"""Log-probabilities of the scored tokens of texts, with what Min-K%++ needs (the part that runs the model)."""

import numpy as np
import torch

from atlas.analyses import logprob_layout
from atlas.analyses.next_token import check_head, token_statistics
from atlas.analyses.shards import batches, shard_of
from atlas.models.finite import require_finite


def extract(model, texts, *, batch_tokens, shard=1, shards=1, progress=iter):
    """The arrays of logprob_layout of one shard. `texts`: {kind of text: [ScoredText]}.

    Raises AtlasError for a family whose logits this workflow does not reproduce.
    """
    check_head(model)
    parts = []
    for text, sequences in texts.items():
        groups = shard_of(batches([len(sequence.ids) for sequence in sequences], batch_tokens), shard, shards)
        parts.append(logprob_layout.empty(text))
        for group in progress(groups):
            found = batch_logprobs(model, [sequences[i] for i in group])
            parts.append({f"{text}.{name}": array for name, array in found.items()})
    return logprob_layout.merge(parts)


def batch_logprobs(model, sequences):
    """{number, tokens, lp, mu, sigma, rank} of one batch of ScoredText, as in logprob_layout.

    The rows are padded on the right and no mask is given: under causal attention nothing reads what comes later, and
    without a mask the attention takes its fast path.
    """
    device = next(model.parameters()).device
    width = max(len(sequence.ids) for sequence in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    scored = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
        scored[row, : len(sequence.ids)] = torch.tensor(sequence.scored)
    scored[:, 0] = False  # nothing predicts the first token
    with torch.no_grad():
        states = model.base_model(input_ids=ids.to(device), use_cache=False).last_hidden_state
        # The state at i predicts token i + 1. Indexing copies, so the head reads contiguous rows.
        states = states[:, :-1][scored[:, 1:].to(device)]
        require_finite(states, model, [sequence.ids for sequence in sequences], "the last hidden state")
        values = token_statistics(model, states, ids[scored].to(device))
    arrays = {name: value.numpy() for name, value in zip(logprob_layout.PER_TOKEN, values, strict=True)}
    return {
        "number": np.array([sequence.number for sequence in sequences], np.int32),
        "tokens": scored.sum(1).to(torch.int32).numpy(),
        **arrays,
    }
