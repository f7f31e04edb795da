"""Attention sinks against stock Hugging Face eager attention, one sequence at a time."""

import numpy as np
import pytest
from scipy import stats

from atlas.analyses.sinks.extract import column_means
from atlas.analyses.sinks.metrics import head_sinks, sink_rates
from atlas.errors import AtlasError
from attention_engine_reference import eager
from families import build

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
