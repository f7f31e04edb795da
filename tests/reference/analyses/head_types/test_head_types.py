"""Scores of head types against stock Hugging Face eager attention, one sequence at a time, and heads made by hand."""

import numpy as np
import pytest
import torch

from atlas.analyses.head_types.extract import head_scores, repeated_sequences
from atlas.analyses.head_types.metrics import uniform
from atlas.analyses.head_types.scores import TYPES
from atlas.analyses.head_types.storage import merge
from atlas.errors import AtlasError
from atlas.models.limits import Limits
from families import build
from planted_weights import induction_pair
from planted_weights import uniform as looking_everywhere

FAMILIES = ["llama", "gpt2", "gpt_neox", "phi", "qwen2", "gemma2", "mistral_sliding"]
KNOWN = np.arange(3, 190)
ANY = Limits(None, 199)


def made(length, number, start=(1,), seed=0):
    return repeated_sequences(KNOWN, length=length, number=number, start=start, seed=seed, limits=ANY)


def brute_force(model, ids, length):
    """{type: (S, layers, heads)} in float64: every entry of stock eager attention looked up by the tokens, not by a
    distance."""
    found = {kind: [] for kind in TYPES}
    for row in ids.tolist():
        with torch.no_grad():
            out = model(torch.tensor([row]), output_attentions=True, use_cache=False)
        attention = torch.cat(out.attentions).double().numpy()
        seen = {kind: [] for kind in TYPES}
        for i in range(len(row) - length, len(row)):
            earlier = row[:i].index(row[i])
            seen["previous_token"].append(attention[:, :, i, i - 1])
            seen["duplicate_token"].append(attention[:, :, i, earlier])
            seen["induction"].append(attention[:, :, i, earlier + 1])
        for kind in TYPES:
            found[kind].append(np.mean(seen[kind], 0))
    return {kind: np.stack(values) for kind, values in found.items()}


@pytest.mark.parametrize("start", [(), (1,), (1, 2)], ids=["nothing first", "one token first", "two tokens first"])
@pytest.mark.parametrize("name", FAMILIES)
def test_scores_equal_stock_attention_looked_up_by_token(name, start):
    model, ids = build(name), made(9, 5, start)
    found = head_scores(model, ids, 9, batch_tokens=45)
    expected = brute_force(build(name, dtype=torch.float64), ids, 9)
    order = np.argsort(found["sequence"])
    for kind in TYPES:
        np.testing.assert_allclose(found[kind][order], expected[kind], atol=2e-5)


def test_scores_of_long_sequences_go_over_several_blocks_of_queries():
    """The engine takes 128 query rows at a time: a row and the token that it looks for are in different ones."""
    model = build("llama", max_position_embeddings=512)
    known = np.arange(3, 199)
    ids = repeated_sequences(known, length=140, number=2, start=(1,), seed=0, limits=ANY)
    found = head_scores(model, ids, 140, batch_tokens=4096)
    expected = brute_force(model, ids, 140)
    for kind in TYPES:
        np.testing.assert_allclose(found[kind], expected[kind], atol=2e-5)


def test_shards_and_batches_change_nothing():
    model, ids = build("llama"), made(8, 7)
    whole = head_scores(model, ids, 8, batch_tokens=4096)
    parts = [head_scores(model, ids, 8, batch_tokens=40, shard=shard, shards=3) for shard in (3, 1, 2)]
    joined = merge(parts)
    assert joined["sequence"].tolist() == list(range(7))
    for kind in TYPES:
        np.testing.assert_allclose(joined[kind], whole[kind], atol=1e-6)
    nothing = head_scores(model, ids[:1], 8, batch_tokens=4096, shard=2, shards=2)
    assert nothing["induction"].shape == (0, 4, 6)


@pytest.mark.parametrize("start", [(), (1,)])
def test_heads_that_look_everywhere_alike_score_the_uniform_share(start):
    model = looking_everywhere(build("llama"))
    found = head_scores(model, made(10, 3, start), 10, batch_tokens=4096)
    for kind in TYPES:
        np.testing.assert_allclose(found[kind], uniform(10, len(start)), atol=1e-6)


def test_an_induction_head_made_by_hand_is_found_with_the_head_that_feeds_it():
    """A head of layer 0 copies what stands before a token; one of layer 1 looks for the token that follows its like."""
    model, feeding, inducing, duplicate = induction_pair()
    found = head_scores(model, made(12, 4), 12, batch_tokens=4096)
    mean = {kind: found[kind].mean(0) for kind in TYPES}
    assert mean["previous_token"][feeding] > 0.99
    assert mean["induction"][inducing] > 0.99
    assert mean["duplicate_token"][duplicate] > 0.3
    named = {"previous_token": feeding, "induction": inducing, "duplicate_token": duplicate}
    for kind, head in named.items():
        others = np.delete(mean[kind].ravel(), np.ravel_multi_index(head, mean[kind].shape))
        assert others.max() < 0.2, kind


def test_without_the_head_that_feeds_it_an_induction_head_finds_nothing():
    model, feeding, inducing, _ = induction_pair()
    assert feeding == (0, 0)
    model.transformer.h[0].attn.c_proj.weight.data[:160] = 0
    found = head_scores(model, made(12, 4), 12, batch_tokens=4096)
    assert found["induction"].mean(0)[inducing] < 0.1


def test_sequences_stand_twice_hold_different_tokens_and_do_not_depend_on_how_many_there_are():
    ids = made(30, 5, (1,), seed=3)
    assert ids.shape == (5, 61)
    assert (ids[:, 0] == 1).all()
    assert (ids[:, 1:31] == ids[:, 31:]).all()
    assert all(len(set(row[1:31])) == 30 for row in ids.tolist())
    assert set(ids[:, 1:].ravel()) <= set(KNOWN)
    assert len({tuple(row) for row in ids.tolist()}) == 5
    assert (made(30, 2, (1,), seed=3) == ids[:2]).all()
    assert (made(30, 5, (1,), seed=4) != ids).any()


def test_too_few_tokens_and_too_long_sequences_are_refused():
    few = {"known": KNOWN[:9], "number": 2, "start": (1,), "seed": 0}
    with pytest.raises(AtlasError, match="length is 10, but there are 9 different tokens to draw from"):
        repeated_sequences(length=10, limits=ANY, **few)
    with pytest.raises(AtlasError, match=r"length is 8, which makes sequences of 17 tokens, but .* at most 16"):
        repeated_sequences(length=8, limits=Limits(16, 199), **few)
    assert repeated_sequences(length=8, limits=Limits(17, 199), **few).shape == (2, 17)


def test_a_value_that_is_not_finite_names_its_layer():
    model = build("llama")
    model.model.layers[2].self_attn.q_proj.weight.data[0] = float("nan")
    with pytest.raises(AtlasError, match="layer 2"):
        head_scores(model, made(8, 2), 8, batch_tokens=4096)
