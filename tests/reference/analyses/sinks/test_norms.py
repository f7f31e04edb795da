"""Norms of states, keys and values against stock eager code with hooks and its own cache, one sequence at a time."""

import numpy as np
import pytest
import torch
from transformers import DynamicCache
from transformers.models.deepseek_v3 import modeling_deepseek_v3

import any_family
from atlas.analyses.sinks.extract import column_means
from atlas.analyses.sinks.metrics import norms_table
from atlas.analyses.sinks.norms_table import sink_norms
from families import build

# GQA (llama, qwen2), norms of keys (qwen3, gemma3, olmo2: over all heads), windows, no rotation (gpt2).
FAMILIES = ["llama", "gpt2", "gpt_neox", "qwen2", "qwen3", "gemma3", "olmo2", "mistral_sliding"]
LENGTH = 16


def ids_of(number, seed=0):
    return np.random.default_rng(seed).integers(3, 190, (number, LENGTH))


def stock(model, ids):
    """{name: (layers, T)} of one sequence: what layers return, and what the cache holds behind norm and rotation."""
    found, cache = {"state": [], "entry": []}, DynamicCache()
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4)

    def leave(_, args, out):
        state = (out[0] if isinstance(out, tuple) else out)[0].double().numpy()
        found["state"].append(np.sqrt((state**2).sum(-1)))
        found["entry"].append(np.abs(state).max(-1))

    hooks = [layer.register_forward_hook(leave) for layer in layers]
    with torch.no_grad():
        model(torch.tensor([ids]), past_key_values=cache, use_cache=True)
    for hook in hooks:
        hook.remove()
    for name, part in (("key", "keys"), ("value", "values")):
        held = [getattr(layer, part)[0].double().numpy() for layer in cache.layers]  # (KV, T, width)
        found[name] = [np.sqrt((x**2).sum(-1)).mean(0) for x in held]
    return {name: np.stack(values) for name, values in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_those_of_the_stock_model(family):
    model, ids = build(family), ids_of(5)
    arrays = column_means(model, ids, batch_tokens=40)
    order = np.argsort(arrays["sequence"])
    for number, sequence in enumerate(ids.tolist()):
        for name, expected in stock(model, sequence).items():
            assert expected.shape == (4, LENGTH)
            np.testing.assert_allclose(arrays[name][order][number], expected, rtol=2e-5, err_msg=name)


def test_keys_of_a_latent_are_what_the_heads_read(monkeypatch):
    """The cache holds the latent; attention is called with a key and a value of each head."""
    model, ids = build("deepseek_v3"), ids_of(3)
    arrays, called = column_means(model, ids, batch_tokens=400), []
    eager = modeling_deepseek_v3.eager_attention_forward

    def attention(module, query, key, value, *args, **kwargs):
        called.append([x[0].double().numpy() for x in (key, value)])
        return eager(module, query, key, value, *args, **kwargs)

    monkeypatch.setattr(modeling_deepseek_v3, "eager_attention_forward", attention)
    for place in np.argsort(arrays["sequence"]):
        called.clear()
        with torch.no_grad():
            model(torch.tensor(ids[arrays["sequence"][place]])[None], use_cache=False)
        for name, held in zip(("key", "value"), zip(*called, strict=True), strict=True):
            assert held[0].shape[0] == 6
            expected = np.stack([np.sqrt((x**2).sum(-1)).mean(0) for x in held])
            np.testing.assert_allclose(arrays[name][place], expected, rtol=2e-5)


def test_keys_are_measured_behind_their_norm():
    """A gain of the norm of keys multiplies them, whatever the projection gives; rotation keeps the norm."""
    model, ids = build("qwen3"), ids_of(2)
    before = column_means(model, ids, batch_tokens=400)
    for layer in model.model.layers:
        layer.self_attn.k_norm.weight.data.fill_(3.0)
        layer.self_attn.k_proj.weight.data *= 7.0
    after = column_means(model, ids, batch_tokens=400)
    np.testing.assert_allclose(after["key"], 3.0 * model.config.head_dim**0.5, rtol=1e-3)
    assert not np.allclose(before["key"], after["key"], rtol=0.1)


def test_layers_without_attention_have_states_and_no_keys():
    model = any_family.build("bamba")
    arrays = column_means(model, ids_of(3), batch_tokens=400)
    attends = np.array([kind == "full_attention" for kind in model.config.layers_block_type])
    assert 0 < attends.sum() < len(attends)
    assert np.isfinite(arrays["state"]).all()
    assert np.isfinite(arrays["entry"]).all()
    for name in ("key", "value"):
        assert (np.isnan(arrays[name]).all((0, 2)) == ~attends).all()
    named = {f"natural.{name}": values for name, values in arrays.items()}
    options = {"confidence": 0.9, "bootstrap": 100, "seed": 0, "epsilon": 0.3, "positions": "all"}
    frame = norms_table(named, {"model": "m", "dataset": "d"}, options)
    values = ["first", "others", "ratio", "ratio_low", "ratio_high"]
    blank = frame["of"].isin(["key", "value"]) & ~attends[frame["layer"]]
    assert len(frame) == 4 * len(attends)
    assert frame[blank][values].isna().all(axis=None)
    assert frame[~blank][values].notna().all(axis=None)


def test_a_residual_of_several_streams_has_no_norm():
    arrays = column_means(any_family.build("gemma3n_text"), ids_of(2), batch_tokens=400)
    assert np.isnan(arrays["state"]).all()
    assert np.isfinite(arrays["key"]).all()
    assert np.isfinite(arrays["alpha"]).all()


def test_a_planted_massive_activation_is_at_the_first_position():
    """One entry of one token's embedding is enormous: the token stands first, then third."""
    model, ids = build("llama"), ids_of(6)
    ids[ids == 150] = 3
    model.model.embed_tokens.weight.data[150, 11] = 5000.0
    ratios = {}
    for place in (0, 2):
        placed = ids.copy()
        placed[:, place] = 150
        arrays = column_means(model, placed, batch_tokens=400)
        ratios[place] = sink_norms(arrays["entry"], confidence=0.9, draws=100, seed=0)["ratio"]
        assert (arrays["entry"][:, :, place] > 4000).all()
    assert (ratios[0] > 100).all()
    assert (ratios[2] < 1).all()


def test_the_ratio_is_that_of_the_means_with_its_interval_over_sequences():
    norms = np.random.default_rng(0).gamma(3, size=(8, 2, 5)).astype(np.float32)
    frame = sink_norms(norms, confidence=0.9, draws=4000, seed=3)
    assert frame["layer"].tolist() == [0, 1]
    for layer in (0, 1):
        first, others = norms[:, layer, 0].astype(float), norms[:, layer, 1:].astype(float).mean(1)
        row = frame.iloc[layer]
        np.testing.assert_allclose(row[["first", "others"]].astype(float), [first.mean(), others.mean()])
        assert row["ratio"] == pytest.approx(first.mean() / others.mean())
        rng = np.random.default_rng(9)
        drawn = [(first[i].mean() / others[i].mean()) for i in rng.integers(0, 8, (4000, 8))]
        low, high = np.quantile(drawn, [0.05, 0.95])
        assert row["ratio_low"] == pytest.approx(low, rel=0.05)
        assert row["ratio_high"] == pytest.approx(high, rel=0.05)


def test_norms_of_nothing_have_no_ratio():
    frame = sink_norms(np.zeros((3, 1, 4), np.float32), confidence=0.9, draws=100, seed=0)
    assert frame[["first", "others"]].eq(0).all(axis=None)
    assert frame[["ratio", "ratio_low", "ratio_high"]].isna().all(axis=None)
