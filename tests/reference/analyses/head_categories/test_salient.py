"""Salient operations of every head equal the full W_VO of the stock modules over the whole vocabulary, in float64."""

import numpy as np
import pytest
import torch

import families
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_categories.salient import ARRAYS
from atlas.analyses.head_categories.storage import merge
from head_maps import live_first_mlp, live_value_and_output, pairs_of, some_pairs
from planted_weights import relation_heads

TOKENS, MAPPED = 6, 5
FAMILIES = ["llama", "gpt2", "gpt_neox", "phi", "phi3", "gemma2", "olmo2", "opt", "qwen2"]
EVERY = list(range(199))


def found(folder, ids=EVERY, layers=None, **more):
    options = {"dtype": "float64", "threads": 1, "salient": (ids, TOKENS, MAPPED), "k_max": 12, **more}
    return map_heads(folder, some_pairs(), layers, **options)


@torch.no_grad()
def brute_force(model, layer, ids, first_mlp=True):
    """((heads, ids) ratios, (heads, ids, V) logits), one d x d matrix after the other."""
    rows = model.get_input_embeddings().weight[ids]
    rows = (live_first_mlp(model, rows) if layer and first_mlp else rows).double()
    unembedding = model.get_output_embeddings().weight.double()
    ratios, logits = [], []
    for value, output in zip(*live_value_and_output(model, layer), strict=True):
        written = rows @ (value @ output)
        ratios.append(written.norm(dim=1) / rows.norm(dim=1))
        logits.append(written @ unembedding.T)
    return torch.stack(ratios).numpy(), torch.stack(logits).numpy()


def same(result, at, ratios, logits, ids):
    """The arrays of one layer are those of sorted brute force."""
    for head, (own, of) in enumerate(zip(ratios, logits, strict=True)):
        order = np.argsort(-own)[:TOKENS]
        assert result["salient_token"][at, head].tolist() == np.array(ids)[order].tolist()
        np.testing.assert_allclose(result["salient_ratio"][at, head], own[order], rtol=1e-5)
        for rank, row in enumerate(of[order]):
            largest, smallest = np.argsort(-row)[:MAPPED], np.argsort(row)[:MAPPED]
            assert result["salient_mapped"][at, head, rank].tolist() == [largest.tolist(), smallest.tolist()]
            np.testing.assert_allclose(
                result["salient_logit"][at, head, rank], [row[largest], row[smallest]], rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("first_mlp", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_operations_equal_brute_force(name, first_mlp, tmp_path):
    """Models in float64 on both sides: no two tokens are closer than the rounding."""
    model = families.build(name, dtype=torch.float64)
    model.save_pretrained(tmp_path)
    result = found(tmp_path, layers=[0, 2], first_mlp=first_mlp)
    for at, layer in enumerate((0, 2)):
        same(result, at, *brute_force(model, layer, EVERY, first_mlp), EVERY)


def test_only_tokens_that_are_asked_for_are_looked_at(tmp_path):
    model = families.build("llama", dtype=torch.float64)
    model.save_pretrained(tmp_path)
    ids = list(range(50, 90))
    result = found(tmp_path, ids)
    assert set(result["salient_token"].ravel()) <= set(ids)
    assert result["salient_mapped"].max() > 90  # all rows of the unembedding compete
    same(result, 1, *brute_force(model, 1, ids), ids)


def test_float32_heads_at_once_threads_and_shards_change_nothing(tmp_path):
    families.build("llama").save_pretrained(tmp_path)
    whole = found(tmp_path, dtype="float32")
    for more in ({"memory_mb": 16}, {"threads": 3}):
        other = found(tmp_path, dtype="float32", **more)
        for name in ARRAYS:
            assert np.array_equal(whole[name], other[name]), (more, name)
    joined = merge([found(tmp_path, dtype="float32", layers=layers) for layers in ([2, 3], [0, 1])])
    for name in ARRAYS:
        assert np.array_equal(whole[name], joined[name])


def test_what_heads_map_is_as_without_salient_operations(tmp_path):
    families.build("gpt2").save_pretrained(tmp_path)
    plain = found(tmp_path, salient=None)
    assert not set(plain) & set(ARRAYS)
    assert all(np.array_equal(found(tmp_path)[name], array) for name, array in plain.items())


def test_a_planted_head_amplifies_its_words_and_maps_them_to_the_next(tmp_path):
    model = relation_heads()
    model.save_pretrained(tmp_path)
    result = map_heads(tmp_path, pairs_of(10, 50), first_mlp=False, salient=(EVERY, 30, 1))
    for head, start in (((1, 2), 10), ((2, 4), 50)):
        words = result["salient_token"][*head]
        assert sorted(words) == list(range(start, start + 30))
        np.testing.assert_allclose(result["salient_ratio"][*head], 1, rtol=1e-6)
        # Written is the next word of the thirty, and nothing else: one logit is not 0.
        assert result["salient_mapped"][*head][:, 0, 0].tolist() == [start + (w - start + 1) % 30 for w in words]
    silent = np.ones((3, 6), bool)
    silent[1, 2] = silent[2, 4] = False
    assert (result["salient_ratio"][silent] <= 0).all()
