"""Attention sinks against stock Hugging Face eager attention, one sequence at a time."""

import numpy as np
import pytest
from scipy import stats

from atlas.analyses.sinks.extract import column_means
from atlas.analyses.sinks.metrics import head_sinks, sink_rates
from atlas.analyses.sinks.profile import chosen, sink_profile
from atlas.errors import AtlasError
from attention_engine_reference import eager
from families import build
from planted_weights import looking, silent

FAMILIES = ["llama", "gpt2", "gpt_neox", "phi", "qwen2", "gemma2"]
ROPE = ["llama", "gpt_neox", "phi", "qwen2"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return build(request.param)


def ids_of(number, length=16, seed=0):
    return np.random.default_rng(seed).integers(3, 190, (number, length))


def test_alpha_equals_eager_attention_and_its_sum_identity(model):
    ids = ids_of(5)
    found = column_means(model, ids, batch_tokens=40)
    order = np.argsort(found["sequence"])
    length = ids.shape[1]
    for sequence, alpha in zip(ids, found["alpha"][order], strict=True):
        attention = eager(model, sequence.tolist())
        expected = np.stack([attention[:, :, j:, j].mean(-1) for j in range(length)], -1)
        np.testing.assert_allclose(alpha, expected, atol=2e-5)
        np.testing.assert_allclose((alpha * (length - np.arange(length))).sum(-1), length, rtol=1e-5)


@pytest.mark.parametrize("name", ROPE)
def test_uniform_attention_has_the_harmonic_alpha_and_no_sink(name):
    model = build(name)
    for key, parameter in model.named_parameters():  # uniform attention: all scores are 0
        if key.endswith("bias") or (parameter.dim() > 1 and parameter.shape[0] != 199):
            parameter.data.zero_()
    length = 64
    found = column_means(model, np.full((2, length), 7), batch_tokens=4096)
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, length + 1))])
    expected = (harmonic[length] - harmonic[:length]) / (length - np.arange(length))
    np.testing.assert_allclose(found["alpha"], np.broadcast_to(expected, found["alpha"].shape), atol=1e-6)
    assert head_sinks(found["alpha"], 0.3, 0.95)["sink_rate"].eq(0).all()


def test_sink_metric_counts_heads_strictly_above_epsilon():
    alpha = np.zeros((4, 2, 3, 5), np.float32)
    alpha[:, 0, 0, 0] = [0.25, 0.26, 0.9, 0.1]  # equal to epsilon does not count
    alpha[:, 1, :, 0] = 0.5
    heads = head_sinks(alpha, 0.25, 0.95).set_index(["layer", "head"])
    assert heads.loc[(0, 0), "sink_rate"] == 0.5
    assert heads.loc[(1, 2), "sink_rate"] == 1
    interval = stats.binomtest(2, 4).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(
        heads.loc[(0, 0), ["rate_low", "rate_high"]].astype(float), [interval.low, interval.high]
    )
    rates = sink_rates(alpha, 0.25, confidence=0.95, draws=300, seed=0)
    np.testing.assert_allclose(rates["rate"], [1 / 6, 1, 7 / 12])
    assert rates["layer"].isna().tolist() == [False, False, True]
    assert rates["rate_low"].iloc[1] == rates["rate_high"].iloc[1] == 1


def test_a_value_that_is_not_finite_names_its_layer():
    model = build("llama")
    model.model.layers[2].self_attn.q_proj.weight.data[0] = float("nan")
    with pytest.raises(AtlasError, match="layer 2"):
        column_means(model, ids_of(2), batch_tokens=4096)


def test_the_profile_is_the_share_of_heads_above_epsilon_at_every_position_of_stock_attention(model):
    ids = ids_of(4)
    found = column_means(model, ids, batch_tokens=4096)
    frame = sink_profile(found["alpha"], range(16), 0.2, confidence=0.95, draws=200, seed=0)
    above, means = [], []
    for sequence in ids.tolist():
        attention = eager(model, sequence)
        received = np.stack([attention[:, :, j:, j].mean(-1) for j in range(16)], -1)  # (layers, heads, positions)
        above.append((received > 0.2).mean(1))
        means.append(received.mean(1))
    for position in range(16):
        rows = frame[frame["position"] == position]
        expected = np.mean(above, 0)[:, position]
        np.testing.assert_allclose(rows["rate"], [*expected, expected.mean()], atol=1e-12)
        expected = np.mean(means, 0)[:, position]
        np.testing.assert_allclose(rows["alpha"], [*expected, expected.mean()], atol=2e-5)
        assert rows["layer"].isna().tolist() == [False] * 4 + [True]
        assert (rows["rate_low"] <= rows["rate"]).all()
        assert (rows["rate"] <= rows["rate_high"]).all()


def test_the_first_position_of_the_profile_is_the_sink_rate():
    alpha = np.random.default_rng(0).random((9, 3, 4, 6)).astype(np.float32)
    alpha[:4, 0, :, 0] = 0.4  # in float32 a bit more, and not above it all the same
    told = {"confidence": 0.9, "draws": 300, "seed": 5}
    rates, profile = sink_rates(alpha, 0.4, **told), sink_profile(alpha, [0, 4], 0.4, **told)
    names = ["layer", "rate", "rate_low", "rate_high"]
    first = profile[profile["position"] == 0].reset_index(drop=True)
    np.testing.assert_allclose(first[names].astype(float), rates[names].astype(float))
    moved = sink_rates(np.roll(alpha, -4, -1), 0.4, **told)
    fourth = profile[profile["position"] == 4]
    np.testing.assert_allclose(fourth[names[1:]].astype(float), moved[names[1:]].astype(float))


def test_a_planted_sink_is_found_where_it_stands():
    """Every head looks at one token, which stands at position 5 of all sequences."""
    model = looking(silent(2), {9: 4.0}, 4.0)
    ids = np.random.default_rng(0).integers(20, 190, (6, 24))
    ids[:, 5] = 9
    found = column_means(model, ids, batch_tokens=4096)
    frame = sink_profile(found["alpha"], range(24), 0.3, confidence=0.95, draws=200, seed=0)
    whole = frame[frame["layer"].isna()].set_index("position")["rate"]
    assert whole[5] == 1
    assert whole[:5].max() == whole[6:20].max() == 0


def test_positions_are_all_or_a_list_of_those_that_are_there():
    assert chosen("all", 3) == [0, 1, 2]
    assert chosen([2, 0], 3) == [0, 2]
    with pytest.raises(AtlasError, match="positions: 3 is no position of sequences of 3 tokens, which have 0 to 2"):
        chosen([0, 3], 3)
