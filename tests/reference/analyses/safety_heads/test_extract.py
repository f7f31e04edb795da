"""The packed pass over all heads equals a loop of full stock forwards with hooks, for every family."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

import families
import head_ablation_reference as reference
from atlas.analyses.safety_heads.extract import HeadAblation, extract
from atlas.analyses.safety_heads.rounding import remeasured
from atlas.analyses.safety_heads.ships import leading_subspace, principal_angles, ships
from atlas.analyses.safety_heads.storage import merge
from atlas.attention import Pack, Plan, layer_inputs, packed
from atlas.errors import AtlasError

PROMPTS = reference.prompts()
ABLATIONS = ("undifferentiated", "scaling", "mean")


def model_of(name, dtype=torch.float32, **overrides):
    return families.build(name, dtype=dtype, **overrides).requires_grad_(False)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_equals_stock_loop(name):
    model = model_of(name)
    config = model.config.get_text_config()
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    means = reference.head_means(model, PROMPTS)
    clean = [reference.run(model, prompt) for prompt in PROMPTS]
    clean_states = np.stack([c[0].double().numpy() for c in clean])
    scale = np.abs(clean_states).max()
    ablation = HeadAblation(model, PROMPTS, range(layers), epsilon=1e-5, max_rows=4 * len(PROMPTS), means=True)
    assert np.allclose(ablation.clean_gram, clean_states @ clean_states.T, rtol=0, atol=1e-5 * scale**2 * 48)
    for kind in ABLATIONS:
        for layer in (0, layers // 2, layers - 1):
            gram, kl = ablation.effects(kind, [[(layer, head)] for head in range(heads)])
            for head in range(0, heads, 2):
                found = [reference.run(model, p, [(kind, layer, head)], 1e-5, means) for p in PROMPTS]
                expected = np.stack([f[0].double().numpy() for f in found])
                expected_kl = [reference.kl(c[1], f[1]) for c, f in zip(clean, found, strict=True)]
                np.testing.assert_allclose(kl[head], expected_kl, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(gram[head], expected @ expected.T, rtol=0, atol=2e-5 * scale**2 * 48)
                angle = ships(ablation.clean_gram, gram[head], 1)
                u = np.linalg.svd(clean_states)[0][:, :1]
                v = np.linalg.svd(expected)[0][:, :1]
                assert abs(angle - np.degrees(subspace_angles(u, v)).sum()) <= 1e-3


# The grouped product of PyTorch's expert layers has no float64.
@pytest.mark.parametrize("name", [name for name in families.FAMILIES if name not in ("gpt_oss", "mixtral")])
def test_divergence_in_float64(name):
    """Where float32's rounding does not hide it, KL agrees to 1e-6 whatever its size."""
    model = model_of(name, torch.float64)
    clean = [reference.run(model, prompt)[1] for prompt in PROMPTS]
    ablation = HeadAblation(model, PROMPTS, [1], epsilon=1e-5)
    for kind in ("undifferentiated", "scaling"):
        kl = ablation.effects(kind, [[(1, head)] for head in (0, 5)])[1]
        for row, head in enumerate((0, 5)):
            changed = [reference.run(model, prompt, [(kind, 1, head)])[1] for prompt in PROMPTS]
            expected = [reference.kl(c, f) for c, f in zip(clean, changed, strict=True)]
            np.testing.assert_allclose(kl[row], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_states_of_packed_prompts(name):
    """States, not only their Gram matrices, within 1e-5, resumed at every layer, with an edit in the last layer too."""
    model = model_of(name)
    layers, heads = model.config.get_text_config().num_hidden_layers, model.config.get_text_config().num_attention_heads
    pack = Pack(PROMPTS)
    for layer in range(layers):
        inputs = {}
        for prompt, path in zip(PROMPTS, pack.paths, strict=True):
            with torch.no_grad(), layer_inputs(model, {layer}) as hidden:
                model(torch.tensor([prompt]), use_cache=False)
            for index, row in zip(path.tolist(), hidden[layer][0], strict=True):
                inputs[index] = row
        hidden = torch.stack([inputs[i] for i in range(len(pack.ids))])[None]
        where = torch.zeros(3, heads, dtype=torch.bool)
        where[1, 0] = where[2, heads - 1] = True
        last = where.flip(0) | where if layer == layers - 1 else where.flip(0)
        plan = Plan(uniform={layer: where, layers - 1: last})
        with packed(model, pack) as run:
            states, logits = run(layer, hidden, plan, 3)
        edits = [
            [("undifferentiated", layers - 1, heads - 1)],
            [("undifferentiated", layer, 0), ("undifferentiated", layers - 1, 0)],
            [("undifferentiated", layer, heads - 1)],
        ]
        for row, todo in enumerate(edits):
            for i, prompt in enumerate(PROMPTS):
                state, last, _ = reference.run(model, prompt, todo)
                assert float((states[row, i] - state).abs().max()) <= 1e-5 * max(1, float(state.abs().max()))
                assert float((logits[row, i] - last).abs().max()) <= 1e-5 * max(1, float(last.abs().max()))


def test_pack_shares_what_is_common():
    pack = Pack([(1, 2, 3, 4), (1, 2, 5), (1, 2, 3), (9, 2, 3)])
    assert pack.ids.tolist() == [1, 2, 3, 4, 5, 9, 2, 3]
    assert pack.positions.tolist() == [0, 1, 2, 3, 2, 0, 1, 2]
    assert [path.tolist() for path in pack.paths] == [[0, 1, 2, 3], [0, 1, 4], [0, 1, 2], [5, 6, 7]]


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_neox"])
def test_rows_order_and_shards_change_nothing(name):
    model = model_of(name)
    options = {"ablations": ["undifferentiated", "scaling"], "epsilon": 1e-5}
    whole = extract(model, PROMPTS, **options)
    for shards in (2, 3):
        joined = merge([extract(model, PROMPTS, **options, shard=s + 1, shards=shards) for s in range(shards)])
        assert {k: v.tobytes() for k, v in joined.items()} == {k: v.tobytes() for k, v in whole.items()}
    order = [3, 0, 5, 1, 4, 2]
    for changed in (
        extract(model, PROMPTS, **options, max_rows=1),
        extract(model, PROMPTS, **options, max_rows=4),
        extract(model, PROMPTS, **options, max_rows=7),
    ):
        for key, value in whole.items():
            np.testing.assert_allclose(changed[key], value, rtol=1e-4, atol=3e-5 * max(1, np.abs(value).max()))
    changed = extract(model, [PROMPTS[i] for i in order], **options)
    for key, value in whole.items():
        value = value[..., order] if key.endswith("kl") else value
        value = value[..., order, :][..., order] if key.endswith("gram") else value
        np.testing.assert_allclose(changed[key], value, rtol=1e-4, atol=3e-5 * max(1, np.abs(value).max()))


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi", "gemma3"])
def test_invariants(name):
    """epsilon = 1 is the identity; UA leaves position 0 alone; layers up to the edited one are untouched."""
    model = model_of(name)
    same = HeadAblation(model, PROMPTS, range(4), epsilon=1.0)
    gram, kl = same.effects("scaling", [[(layer, 1)] for layer in range(4)])
    assert kl.max() <= 1e-10
    assert ships(same.clean_gram, gram, 1).max() <= 2e-4
    one = [(5,), (9,), (17,)]  # prompts of one token: the mean over one visible value is that value
    single = HeadAblation(model, one, range(4), epsilon=1e-5)
    gram, kl = single.effects("undifferentiated", [[(layer, head)] for layer in range(4) for head in range(6)])
    assert kl.max() <= 1e-9
    clean = reference.run(model, PROMPTS[0])[2]
    for layer in range(4):
        edited = reference.run(model, PROMPTS[0], [("undifferentiated", layer, 2)])[2]
        for below in range(layer + 1):
            assert torch.equal(clean[below], edited[below])


def test_uniform_is_the_limit_of_scaled_queries_and_keys():
    """On multi-head attention without bias, q and k scaled by a small factor both approach the exact limit."""
    model = model_of("llama", num_key_value_heads=6)
    exact = HeadAblation(model, PROMPTS, [1], epsilon=1e-5).effects("undifferentiated", [[(1, 2)]])[1][0]
    clean = [reference.run(model, prompt)[1] for prompt in PROMPTS]
    for projection in ("q_proj", "k_proj"):
        scaled = model_of("llama", num_key_value_heads=6)
        weight = getattr(scaled.model.layers[1].self_attn, projection).weight
        weight[2 * 8 : 3 * 8] *= 1e-6
        found = [reference.kl(c, reference.run(scaled, p)[1]) for c, p in zip(clean, PROMPTS, strict=True)]
        np.testing.assert_allclose(exact, found, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_causality_with_edits(name):
    """What comes after a prompt's beginning changes nothing in a shorter prompt that is this beginning."""
    model = model_of(name)
    short, group = PROMPTS[0][:4], [(0, 0), (2, 3)]
    results = []
    for tail in ((11, 12), (150, 7, 8)):
        ablation = HeadAblation(model, [short, (*short, *tail)], [0], epsilon=1e-5)
        results.append([ablation.effects(kind, [group]) for kind in ("undifferentiated", "scaling")])
    alone = HeadAblation(model, [short], [0], epsilon=1e-5)
    for i, kind in enumerate(("undifferentiated", "scaling")):
        gram, kl = alone.effects(kind, [group])
        for result in results:
            np.testing.assert_allclose(result[i][1][0, 0], kl[0, 0], rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(result[i][0][0, 0, 0], gram[0, 0, 0], rtol=1e-5)


def test_grouped_heads_share_values():
    """Grouped-query attention equals multi-head attention whose key and value heads are repeated."""
    grouped = model_of("llama")
    full = model_of("llama", num_key_value_heads=6)
    state = grouped.state_dict()
    for name, tensor in state.items():
        if "k_proj" in name or "v_proj" in name:
            state[name] = tensor.view(2, 8, -1).repeat_interleave(3, 0).reshape(48, -1)
    full.load_state_dict(state)
    groups = [[(layer, head)] for layer in range(4) for head in range(6)]
    for kind in ("undifferentiated", "scaling"):
        a = HeadAblation(grouped, PROMPTS, range(4), epsilon=1e-5).effects(kind, groups)
        b = HeadAblation(full, PROMPTS, range(4), epsilon=1e-5).effects(kind, groups)
        np.testing.assert_allclose(a[1], b[1], rtol=1e-3, atol=1e-7)


def test_angles_equal_scipy():
    rng = np.random.default_rng(0)
    for queries, rank, size in ((16, 1, 1e-9), (16, 3, 1e-5), (12, 2, 1.0), (8, 2, 1e-3)):
        a = rng.normal(size=(queries, 40))
        b = a + size * rng.normal(size=(queries, 40))
        u, v = (leading_subspace(m @ m.T, rank) for m in (a, b))
        expected = np.degrees(subspace_angles(u, v))[::-1]
        np.testing.assert_allclose(principal_angles(u, v), expected, rtol=1e-6, atol=1e-12)
        left = [np.linalg.svd(m)[0][:, :rank] for m in (a, b)]
        np.testing.assert_allclose(ships(a @ a.T, b @ b.T, rank), np.degrees(subspace_angles(*left)).sum(), atol=1e-5)


def test_angles_ignore_rotation_scale_and_sign():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 16, 40))
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    expected = ships(a @ a.T, b @ b.T, 3)
    for changed in (b @ rotation, 7 * b, -b):
        np.testing.assert_allclose(ships(a @ a.T, changed @ changed.T, 3), expected, rtol=1e-9)


def test_not_finite_is_named():
    model = model_of("llama")
    ablation = HeadAblation(model, PROMPTS, [2], epsilon=float("inf"))
    with pytest.raises(AtlasError, match=r"\(2, 1\)"):
        ablation.effects("scaling", [[(2, 1)]])


@pytest.mark.parametrize("shards", [1, 3, 5])  # of 4 layers: the fifth has none
def test_one_head_of_each_layer_again_is_that_of_the_whole_pass(shards):
    """The job's float32 pass over (layer, layer modulo heads), whatever the number of shards, against stock loops."""
    model = model_of("llama")
    means = reference.head_means(model, PROMPTS)
    clean = [reference.run(model, prompt) for prompt in PROMPTS]
    parts = []
    for shard in range(1, shards + 1):
        asked = {"ablations": ABLATIONS, "epsilon": 1e-5, "shard": shard, "shards": shards}
        parts.append(extract(model, PROMPTS, **asked) | remeasured(model, PROMPTS, **asked))
    arrays = merge(parts)
    states = np.stack([c[0].double().numpy() for c in clean])
    np.testing.assert_allclose(arrays["wide.clean.gram"], states @ states.T, rtol=1e-4)
    for kind in ABLATIONS:
        for row, layer in enumerate(arrays["layer"]):
            again = [reference.run(model, p, [(kind, layer, layer % 6)], 1e-5, means) for p in PROMPTS]
            expected = np.stack([found[0].double().numpy() for found in again])
            np.testing.assert_allclose(arrays[f"wide.{kind}.gram"][row], expected @ expected.T, rtol=1e-4)
            expected_kl = [reference.kl(c[1], found[1]) for c, found in zip(clean, again, strict=True)]
            np.testing.assert_allclose(arrays[f"wide.{kind}.kl"][row], expected_kl, rtol=1e-4, atol=1e-6)
