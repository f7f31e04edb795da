"""Saliency of question-to-answer flow equals autograd on stock eager attention, sample by sample."""

import functools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.analyses.saliency.answered_samples import AnsweredSample
from atlas.analyses.saliency.extract import SampleProbe, extract
from atlas.analyses.saliency.hidden_states import extract as extract_hidden
from atlas.analyses.saliency.storage import FLOWS, merge
from atlas.attention import decoder_layers
from atlas.errors import AtlasError
from attention_engine_reference import ENGINE_FAMILIES, heads, model_of
from families import build

LAYER = 3
LOSSES = ["probe_bce", "probe_logit", "answer_nll"]
# (question length, answer length, E_Q, E_A, random), positions relative to the text behind the prefix; several E_A
TEXTS = [
    (6, 3, (2, 4), (7, 8), (1, 4)),
    (9, 5, (3, 5, 6), (10, 12), (0, 2, 8)),
    (4, 1, (1,), (4,), (3,)),
    (8, 4, (2, 3, 7), (8, 9, 10, 11), (1, 4, 5)),
    (7, 2, (6,), (7,), (2,)),
]


def samples_of(prefix=7, extra=0, width=48):
    """(samples, prefix ids, probe) of TEXTS behind `prefix` shared tokens; `extra` moves everything to the right."""
    draw = torch.Generator().manual_seed(3)
    shared = torch.randint(3, 190, (prefix,), generator=draw).tolist()
    samples = []
    for number, (question, answer, *sets) in enumerate(TEXTS):
        ids = shared + torch.randint(3, 190, (extra + question + answer,), generator=draw).tolist()
        sets = [tuple(prefix + extra + position for position in positions) for positions in sets]
        samples.append(AnsweredSample(10 + number, tuple(ids[: max(sets[1]) + 1]), *sets))
    weight = torch.randn(len(samples), width, generator=draw).numpy()
    bias = torch.randn(len(samples), generator=draw).numpy()
    return samples, tuple(shared), SampleProbe(LAYER, weight, bias)


def stock(model, sample, weight, bias, layer):
    """{loss: (S (layers, H, T, T) with zeros above the probe, value)} of one text by autograd, logit and nll."""
    ids, kept = torch.tensor([sample.ids]), {}
    handle = decoder_layers(model)[layer - 1].register_forward_hook(
        lambda module, args, output: kept.update(h=output[0] if isinstance(output, tuple) else output)
    )
    out = model(ids, use_cache=False, output_attentions=True)
    handle.remove()
    for weights in out.attentions:
        weights.retain_grad()
    logit = kept["h"][0, -1] @ torch.from_numpy(weight).to(kept["h"].dtype) + float(bias)
    lp = out.logits[0].log_softmax(-1)
    nll = -torch.stack([lp[position - 1, sample.ids[position]] for position in sample.answer]).mean()
    z = 1.0
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor(z, dtype=logit.dtype))
    found = {}
    for name, loss in (("probe_logit", logit), ("probe_bce", bce), ("answer_nll", nll)):
        for weights in out.attentions:
            weights.grad = None
        model.zero_grad()
        loss.backward(retain_graph=True)
        grads = [torch.zeros_like(a) if a.grad is None else a.grad for a in out.attentions]
        found[name] = torch.cat([a.detach() * grad for a, grad in zip(out.attentions, grads, strict=True)])
    return found, float(logit.detach()), float(nll.detach())


def flows_of(sample, shift):
    """{flow: (T, T) bool of its pairs}."""
    length = len(sample.ids)
    sets = {"question": sample.question, "random": sample.random,
            "answer": [i - shift for i in sample.answer], "all": range(length - shift)}  # fmt: skip
    pairs = {}
    for flow in FLOWS:
        source, _, end = flow.split("_")
        chosen = torch.zeros(length, length, dtype=torch.bool)
        for i in sets[end]:
            for j in sets[source]:
                chosen[i, j] = i > j
        pairs[flow] = chosen
    return pairs


@functools.cache
def reference(name, prefix=7, extra=0, layer=LAYER, dtype=torch.float32):
    model = build(name, dtype=dtype)
    samples, _, sample_probe = samples_of(prefix, extra)
    return [
        stock(model, s, w, b, layer) for s, w, b in zip(samples, sample_probe.weight, sample_probe.bias, strict=True)
    ]


def assert_saliency(arrays, expected, samples, layer=LAYER, tolerance=1e-5):
    for row, (sample, (s, logit, nll)) in enumerate(zip(samples, expected, strict=True)):
        for loss in ("probe_logit", "answer_nll"):
            if f"{loss}.signed" not in arrays:
                continue
            depth = layer if loss == "probe_logit" else len(s[loss])
            for number, (flow, pairs) in enumerate(flows_of(sample, int(loss == "answer_nll")).items()):
                chosen = (s[loss].double() * pairs)[:depth]
                scale = (s[loss].double().abs() * pairs)[:depth].sum() + 1e-300
                for kind, value in (
                    ("signed", chosen.sum((-1, -2))),
                    ("absolute", chosen.abs().sum((-1, -2))),
                    ("sum_then_abs", chosen.sum(1).abs().sum((-1, -2))),
                ):
                    measured = torch.from_numpy(arrays[f"{loss}.{kind}"][row, :depth, number]).double()
                    worst = float((measured - value).abs().max() / scale)
                    assert worst <= tolerance, f"{loss} {flow} {kind}: {worst:.1e}"
                assert np.isnan(arrays[f"{loss}.signed"][row, depth:]).all()
                assert arrays[f"{loss}.pairs"][row, number] == int(pairs.sum())
        if "probe_logit.signed" in arrays:
            assert arrays["logit"][row] == pytest.approx(logit, rel=2e-5, abs=1e-4)  # OPT: terms up to 19 cancel
        if "answer_nll.signed" in arrays:
            assert arrays["nll"][row] == pytest.approx(nll, rel=2e-5, abs=2e-5)


@pytest.mark.parametrize("losses", [LOSSES, ["probe_logit"]])
@pytest.mark.parametrize("name", ENGINE_FAMILIES)
def test_equals_autograd_on_eager_attention(name, losses):
    """In padded batches behind a shared prefix; probe and answer loss from one forward, or the probe's alone."""
    samples, prefix, sample_probe = samples_of()
    arrays = extract(
        model_of(name), samples, prefix, losses=losses, sample_probe=sample_probe, batch_tokens=64, block=3
    )
    assert arrays["number"].tolist() == [sample.number for sample in samples]
    assert_saliency(arrays, reference(name), samples)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "opt"])
@pytest.mark.parametrize(("prefix", "extra", "layer", "losses"), [
    (0, 0, 2, ["probe_logit"]),  # no prefix: the graph starts at the first destination of each batch
    (0, 6, 1, ["probe_bce"]),
    (5, 0, 4, LOSSES),  # the probe on the last layer, before the final norm
    (5, 2, 0, ["answer_nll"]),
])  # fmt: skip
def test_prefixes_layers_and_losses(name, prefix, extra, layer, losses):
    samples, shared, sample_probe = samples_of(prefix, extra)
    chosen = None if layer == 0 else SampleProbe(layer, sample_probe.weight, sample_probe.bias)
    arrays = extract(model_of(name), samples, shared, losses=losses, sample_probe=chosen, batch_tokens=40)
    assert_saliency(arrays, reference(name, prefix, extra, max(layer, 1)), samples, layer)


def in_float64(monkeypatch, model):
    """Let softmax and norms of the model's family stay in float64, where stock code goes to float32."""
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(
        torch.nn.functional, "softmax", lambda x, dim=None, _stacklevel=3, dtype=None: softmax(x, dim=dim)
    )
    for norm in {type(module) for module in model.modules() if type(module).__name__.endswith("RMSNorm")}:
        offset = float(norm.__name__ == "GemmaRMSNorm")

        def forward(self, x, offset=offset):
            epsilon = self.eps if offset else self.variance_epsilon
            return (offset + self.weight) * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)

        monkeypatch.setattr(norm, "forward", forward)


@pytest.mark.parametrize("losses", [LOSSES, ["probe_logit"]])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "phi", "qwen2", "gemma"])
def test_float64(monkeypatch, name, losses):
    """With softmax and norms of the stock model in float64 the closed form agrees to 1e-12."""
    model = build(name, dtype=torch.float64).requires_grad_(False)
    in_float64(monkeypatch, model)
    expected = reference.__wrapped__(name, dtype=torch.float64)
    samples, prefix, sample_probe = samples_of()
    sample_probe = SampleProbe(LAYER, sample_probe.weight.astype(np.float64), sample_probe.bias.astype(np.float64))
    arrays = extract(model, samples, prefix, losses=losses, sample_probe=sample_probe, batch_tokens=64)
    assert arrays["probe_logit.signed"].dtype == np.float64
    assert_saliency(arrays, expected, samples, tolerance=1e-12)


def test_bce_is_the_logit_scaled():
    """S_bce = |p - z| S_logit, so one backward pass gives both."""
    for s, logit, _ in reference("llama"):
        error = 1 / (1 + np.exp(-logit)) - 1
        torch.testing.assert_close(s["probe_bce"], error * s["probe_logit"], rtol=1e-4, atol=1e-6)


def test_row_sums():
    """With every earlier token as a source: sum_j S_h(i, j) = <g_h(i), o_h(i)>, less the diagonal."""
    s, _, _ = reference("llama")[1]
    samples, prefix, sample_probe = samples_of()
    sample = samples[1]
    first = len(prefix) + 3
    wide = AnsweredSample(sample.number, sample.ids, tuple(range(first)), sample.answer, sample.random)
    one = SampleProbe(LAYER, sample_probe.weight[1:2], sample_probe.bias[1:2])
    arrays = extract(model_of("llama"), [wide], prefix, losses=["probe_logit"], sample_probe=one, batch_tokens=64)
    expected = s["probe_logit"][:LAYER, :, list(sample.answer), :first].sum((-1, -2))
    np.testing.assert_allclose(arrays["probe_logit.signed"][0, :LAYER, 0], expected, rtol=1e-4, atol=1e-6)


def test_the_order_that_the_figure_shows():
    """E_A is part of `all`, pair by pair and in every layer."""
    samples, prefix, sample_probe = samples_of()
    arrays = extract(model_of("qwen3"), samples, prefix, losses=LOSSES, sample_probe=sample_probe, batch_tokens=64)
    for loss, depth in (("probe_logit", LAYER), ("answer_nll", heads(model_of("qwen3"))[0])):
        s = arrays[f"{loss}.sum_then_abs"][:, :depth]
        assert (s[:, :, 1] >= s[:, :, 0]).all()
        assert (s[:, :, 3] >= s[:, :, 2]).all()
        assert (arrays[f"{loss}.absolute"][:, :depth].sum(-1) >= s * (1 - 1e-5)).all()


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_finite_differences(name):
    """Scaling all attention on E_Q by 1 + e in one head changes the logit by e times the signed flow to all."""
    import sys

    model = build(name, dtype=torch.float64).requires_grad_(False)
    samples, prefix, sample_probe = samples_of()
    sample = samples[3]
    one = SampleProbe(LAYER, sample_probe.weight[3:4], sample_probe.bias[3:4])
    arrays = extract(model, [sample], prefix, losses=["probe_logit"], sample_probe=one, batch_tokens=64)
    home = sys.modules[type(decoder_layers(model)[0]).__module__]
    own = home.eager_attention_forward
    pairs = flows_of(sample, 0)["question_to_all"]

    def logit(layer, head, step):
        def eager(module, query, key, value, mask, **options):
            out, weights = own(module, query, key, value, mask, **options)
            if module.layer_idx == layer:
                values = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)[:, head]
                out[:, :, head] += step * (weights[:, head] * pairs) @ values
            return out, weights

        home.eager_attention_forward = eager
        try:
            with torch.no_grad():
                ids = torch.tensor([sample.ids])
                state = model(ids, use_cache=False, output_hidden_states=True).hidden_states[LAYER][0, -1]
        finally:
            home.eager_attention_forward = own
        return float(state @ torch.from_numpy(one.weight[0]).double())

    for layer, head in ((0, 1), (2, 4)):
        slope = (logit(layer, head, 1e-2) - logit(layer, head, -1e-2)) / 2e-2
        assert arrays["probe_logit.signed"][0, layer, 1, head] == pytest.approx(slope, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma3", "deepseek_v3"])
def test_hidden_states_are_those_of_the_model(name):
    samples, prefix, _ = samples_of()
    model = model_of(name)
    arrays = extract_hidden(model, samples, prefix, batch_tokens=64)
    for row, sample in enumerate(samples):
        with torch.no_grad():
            ids = torch.tensor([sample.ids])
            expected = [h[0, -1] for h in model(ids, use_cache=False, output_hidden_states=True).hidden_states[:-1]]
            kept = []
            handle = decoder_layers(model)[-1].register_forward_hook(
                lambda m, a, output, kept=kept: kept.append(output)
            )
            model(ids, use_cache=False)
            handle.remove()
        last = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
        expected = torch.stack([*expected, last[0, -1]])
        np.testing.assert_allclose(arrays["states"][row], expected, rtol=1e-4, atol=2e-5)


def test_shards_give_the_same_bytes():
    samples, prefix, sample_probe = samples_of()
    options = {"losses": LOSSES, "sample_probe": sample_probe, "batch_tokens": 20}
    whole = extract(model_of("llama"), samples, prefix, **options)
    joined = merge([extract(model_of("llama"), samples, prefix, shard=n, shards=3, **options) for n in (1, 2, 3)])
    assert whole.keys() == joined.keys()
    for name, array in whole.items():
        assert array.tobytes() == joined[name].tobytes(), name
    hidden = extract_hidden(model_of("llama"), samples, prefix, batch_tokens=20)
    parts = [extract_hidden(model_of("llama"), samples, prefix, batch_tokens=20, shard=n, shards=2) for n in (2, 1)]
    assert merge(parts)["states"].tobytes() == hidden["states"].tobytes()


def test_batches_and_blocks_change_rounding_only():
    samples, prefix, sample_probe = samples_of()
    options = {"losses": LOSSES, "sample_probe": sample_probe}
    one = extract(model_of("llama"), samples, prefix, batch_tokens=1, block=1, **options)
    many = extract(model_of("llama"), samples, prefix, batch_tokens=1000, block=64, **options)
    for name, array in one.items():
        np.testing.assert_allclose(array, many[name], rtol=1e-4, atol=1e-5 * np.nanmax(np.abs(array), initial=0))


def test_no_layer_above_the_probe_runs():
    model = build("llama").requires_grad_(False)
    ran = []
    for index, layer in enumerate(decoder_layers(model)):
        layer.register_forward_hook(lambda module, args, output, index=index: ran.append(index))
    samples, prefix, sample_probe = samples_of()
    two = SampleProbe(2, sample_probe.weight, sample_probe.bias)
    extract(model, samples, prefix, losses=["probe_logit"], sample_probe=two, batch_tokens=64)
    assert set(ran) == {0, 1}
    ran.clear()
    extract(model, samples, prefix, losses=LOSSES, sample_probe=two, batch_tokens=64)
    assert set(ran) == {0, 1, 2, 3}


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes, backward passes included."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // max(1, tensor.element_size()))
        return out


@pytest.mark.parametrize("prefix", [0, 3968])
def test_long_texts_stay_within_the_block(prefix):
    """4,096 tokens: nothing is larger than a block of rows of all heads; no tokens x tokens tensor is ever made."""
    tokens, block = 4096, 64
    model = build("llama", num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, hidden_size=16,
                  intermediate_size=16, max_position_embeddings=tokens, vocab_size=50)  # fmt: skip
    ids = torch.randint(3, 50, (tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    start = max(prefix, 5)
    sample = AnsweredSample(0, tuple(ids), (start + 1, start + 2), (tokens - 3, tokens - 1), (start + 1, start + 4))
    one = SampleProbe(2, np.ones((1, 16), np.float32), np.zeros(1, np.float32))
    with _Largest() as largest:
        arrays = extract(model.requires_grad_(False), [sample], tuple(ids[:prefix]), losses=["probe_logit"],
                         sample_probe=one, batch_tokens=tokens, block=block)  # fmt: skip
    assert np.isfinite(arrays["probe_logit.signed"]).all()
    assert (arrays["probe_logit.sum_then_abs"] > 0).all()
    assert largest.elements <= 2 * min(block, tokens - prefix) * tokens * (1 if prefix == 0 else 2)


def test_probe_losses_need_a_probe():
    samples, prefix, _ = samples_of()
    with pytest.raises(AtlasError, match="need a probe"):
        extract(model_of("llama"), samples, prefix, losses=["probe_bce"], batch_tokens=64)
