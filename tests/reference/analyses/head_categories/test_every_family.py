"""Head maps of every family against what the loaded modules do with one token, which knows nothing of our records.

A text of one token attends to itself alone. What its heads hand to the output projection is its values, as the family
computes them from what the attention is given; one head is kept, and the family's own projection and unembedding make
of it the head's map. A positive factor for each token and head (sinks, norms, multipliers) changes no rank.
"""

import contextlib

import numpy as np
import pytest
import torch

import text_families
from atlas.analyses.head_categories import storage
from atlas.analyses.head_categories.extract import map_heads
from atlas.errors import AtlasError
from atlas.models import architectures
from atlas.models.families import FAMILIES, WRAPPED
from atlas.models.first_layer import FirstLayer
from atlas.models.unreadable import UNREADABLE
from atlas.models.weights import WeightReader
from head_maps import K_MAX, check, some_pairs

VARIANTS = ("falcon_new", "falcon_multi_head", "gpt_bigcode_multi_head", "granitemoehybrid_dense")
UNLISTED = ("laguna", "lfm3", "minimax_m3_vl_text")  # without a record: read by the names of their modules
NAMES = sorted({*FAMILIES, *VARIANTS, *UNLISTED} - {*WRAPPED})
# One of each kind of record; the others differ in names that these have too.
SOME = (
    "mixtral", "llama4_text", "granitemoeshared", "olmo3", "glm4", "cohere", "arcee", "nemotron", "olmo", "nanochat",
    "bitnet", "deepseek_v3", "jamba", "lfm2", "nemotron_h", "recurrent_gemma", "openai-gpt", "gpt_bigcode", "gpt_neo",
    "gptj", "codegen", "mpt", "bloom", "falcon", "falcon_new", "persimmon", "xglm", "biogpt", "ctrl", "laguna",
)  # fmt: skip


@pytest.fixture
def name(request):
    """A family; those beyond SOME take --long."""
    if request.param not in SOME and not request.config.getoption("--long"):
        pytest.skip("make test-long runs every family")
    return request.param


ATTENTION = ("self_attn", "attn", "attention", "self_attention", "multi_head_attention", "temporal_block", "mixer")
# The norm that layer 0's MLP reads, its MLP, and the norm behind it, by their names; else those of Llama.
MLPS = {
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gpt_neo"), ("ln_2", "mlp", None)),
    **dict.fromkeys(("gptj", "codegen", "openai-gpt"), ("ln_1", "mlp", None)),
    **dict.fromkeys(("cohere", "cohere2", "cohere2_moe", "phi"), ("input_layernorm", "mlp", None)),
    **dict.fromkeys(("jamba", "bamba", "falcon_h1"), ("pre_ff_layernorm", "feed_forward", None)),
    **dict.fromkeys(("lfm2", "lfm2_moe"), ("ffn_norm", "feed_forward", None)),
    "lfm3": ("ffn_norm", "feed_forward", "post_ffn_norm"),
    **dict.fromkeys(("gemma2", "gemma3_text"), ("pre_feedforward_layernorm", "mlp", "post_feedforward_layernorm")),
    "vaultgemma": ("pre_feedforward_layernorm", "mlp", None),
    **dict.fromkeys(("olmo2", "olmo3", "exaone4", "flex_olmo"), (None, "mlp", "post_feedforward_layernorm")),
    "olmo_hybrid": ("post_attention_layernorm", "mlp", None),  # of a layer of linear attention
    **dict.fromkeys(("glm4", "kolibri1"), ("post_attention_layernorm", "mlp", "post_mlp_layernorm")),
    **dict.fromkeys(("granitemoe",), ("post_attention_layernorm", "block_sparse_moe", None)),
    **dict.fromkeys(
        ("granitemoeshared", "granitemoe_swa", "granitemoehybrid"),
        ("post_attention_layernorm", ("block_sparse_moe", "shared_mlp"), None),
    ),
    "granitemoehybrid_dense": ("post_attention_layernorm", "shared_mlp", None),
    "llama4_text": ("post_attention_layernorm", "feed_forward", None),
    "apertus": ("feedforward_layernorm", "mlp", None),
    "hyperclovax": ("post_attention_layernorm", "mlp", "post_norm2"),
    "falcon": ("input_layernorm", "mlp", None),
    "falcon_multi_head": ("input_layernorm", "mlp", None),
    "falcon_new": ("ln_mlp", "mlp", None),
    "mpt": ("norm_2", "ffn", None),
    "ctrl": ("layernorm2", "ffn", None),
    "recurrent_gemma": ("channel_pre_norm", "mlp_block", None),
    **dict.fromkeys(("opt", "xglm", "biogpt"), ("final_layer_norm", ("fc",), None)),
}


class Read(Exception):
    """What was looked for has been read."""


@torch.no_grad()
def live_maps(model, rows, layer):
    """(heads, rows, V): the map of every head of `layer` for states that its attention is given."""
    module = architectures.decoder_layers(model)[layer]
    attention = next(m for path in ATTENTION if (m := getattr(module, path, None)) is not None)
    inner = getattr(attention, "attention", attention)  # GPT-Neo
    for module in attention.modules():  # no biases of V or O; a norm's bias stands before queries and keys only
        if getattr(module, "bias", None) is not None:
            module.bias.zero_()
    found, kind = {}, model.config.model_type
    rows = rows / rows.pow(2).mean(-1, keepdim=True).sqrt()  # long states would give all their attention to a sink

    def give(module, given, named):
        if given:
            states = 3 if kind == "ctrl" else 1  # values, keys and queries
            return (*[rows[:, None]] * states, *given[states:]), named
        return given, {**named, "hidden_states": rows[:, None]}

    def read(module, given):
        found["heads"] = given[0].reshape(len(rows), -1)
        raise Read

    projection = architectures.output_projection(inner)
    handles = [
        attention.register_forward_pre_hook(give, with_kwargs=True),
        projection.register_forward_pre_hook(read),
    ]
    with contextlib.suppress(Read):
        model(torch.zeros(len(rows), 1, dtype=torch.long), use_cache=False)
    for handle in handles:
        handle.remove()
    states, number = found["heads"], model.config.get_text_config().num_attention_heads
    unembedding = model.get_output_embeddings().weight.double()
    maps = []
    for head in range(number):
        kept = torch.zeros_like(states).view(len(rows), number, -1)
        kept[:, head] = states.view(len(rows), number, -1)[:, head]
        maps.append(projection(kept.view_as(states)).double() @ unembedding.T)
    return torch.stack(maps)


@torch.no_grad()
def live_first_mlp(model, name, rows):
    """(n, width): what the MLP of layer 0 makes of lone states, by the modules of the layer."""
    layer = architectures.decoder_layers(model)[0]
    names = MLPS.get(name) or MLPS.get(text_families.model_type(name))
    before, inside, behind = names or ("post_attention_layernorm", "mlp", None)
    x = (rows if before is None else getattr(layer, before)(rows))[:, None]
    if inside == ("fc",):
        out = layer.fc2(layer.activation_fn(layer.fc1(x)))
    elif name in ("bloom", "mpt"):
        out = getattr(layer, inside)(x, torch.zeros_like(x))  # these add the residual themselves
    else:
        parts = [getattr(layer, part)(x) for part in ([inside] if isinstance(inside, str) else inside)]
        out = sum(part[0] if isinstance(part, tuple) else part for part in parts)
    out = out.reshape(rows.shape)
    return out if behind is None else getattr(layer, behind)(out)


def embeddings(model, name, tokens):
    rows = model.get_input_embeddings().weight[tokens].detach()
    return model.transformer.word_embeddings_layernorm(rows).detach() if name == "bloom" else rows


# The first has no MLP in its first layer, the residual of the second is the normed state.
NO_FIRST_MLP = ("nemotron_h", "minimax")


@pytest.mark.parametrize("name", NAMES, indirect=True)
def test_maps_equal_those_of_the_loaded_modules(name, tmp_path):
    model = text_families.build(name)
    model.save_pretrained(tmp_path)
    pairs, reader = some_pairs(), WeightReader(tmp_path)
    layers = [layer for layer in range(reader.shape.layers) if reader.has_attention(layer)][-2:]
    state = "embedding" if name in NO_FIRST_MLP else reader.first_state(True, "routed")
    options = {"first_mlp": state != "embedding", "first_experts": "routed"}
    result = map_heads(tmp_path, pairs, layers, k_max=K_MAX, threads=1, **options)
    assert result["layers"].tolist() == layers
    rows = embeddings(model, name, pairs["source_id"].tolist())
    lifted = rows if state == "embedding" else live_first_mlp(model, name, rows)
    logits = torch.stack([live_maps(model, lifted if layer else rows, layer) for layer in layers])
    check(result, logits, pairs, tolerance=1e-5)


# First layers that more than add their attention and MLP to the state, whose records are read all the same.
NOT_A_SUM = ("doge", "openai-gpt", "nemotron_h", "minimax", "gpt_neox_japanese", "kimi_linear")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_A_SUM], indirect=True)
def test_records_equal_the_loaded_first_layer(name, tmp_path):
    """Up to a factor of the residual (MiniCPM3, Granite), which is the same for all tokens."""
    model = text_families.build(name)
    model.save_pretrained(tmp_path)
    reader = WeightReader(tmp_path)
    if reader.first_mlp_kind != "dense" or reader.family.mlp is None:
        pytest.skip("no record of a dense MLP")
    rows = reader.embedded(torch.arange(5, 60), torch.float64)
    recorded, loaded = reader.lifted(rows, "first_mlp"), FirstLayer(tmp_path).first_mlp(rows)
    factor = (recorded * loaded).sum() / (loaded * loaded).sum()
    torch.testing.assert_close(recorded, loaded * factor, atol=3e-6 * float(recorded.abs().max()), rtol=0)
    assert factor > 0


# Families whose names are the common ones, so that they are read alike without their record.
COMMON = [
    name
    for name in NAMES
    if name in FAMILIES
    and (FAMILIES[name].value, FAMILIES[name].value_layout) == ("self_attn.v_proj", "linear")
    and not FAMILIES[name].inner_norm
    and name not in ("opt", "biogpt")  # their layers' parts stand beside each other, or the embedding is stored twice
]


@pytest.mark.parametrize("name", COMMON, indirect=True)
def test_families_are_read_alike_without_their_record(name, tmp_path, monkeypatch):
    model = text_families.build(name)
    model.save_pretrained(tmp_path)
    listed = WeightReader(tmp_path)
    monkeypatch.delitem(FAMILIES, name)
    unlisted = WeightReader(tmp_path)
    layers = [layer for layer in range(4) if listed.has_attention(layer)]
    assert layers == [layer for layer in range(4) if unlisted.has_attention(layer)]
    ids = torch.arange(5, 60)
    for part in (lambda r: r.value_weights(layers[-1]), lambda r: r.output_weights(layers[-1]),
                 lambda r: r.unembedding(), lambda r: r.embedded(ids, torch.float32)):  # fmt: skip
        assert torch.equal(part(listed), part(unlisted))
    assert listed.first_mlp_kind == unlisted.first_mlp_kind


@pytest.mark.parametrize(
    ("name", "words"),
    [("qwen3_next", "W_V of what it reads"), ("afmoe", "W_V of what it reads"), ("diffllama", "W_V of what it reads"),
     ("bitnet", "W_V of what it reads"), ("jetmoe", "no attention has a module v_proj"),
     ("inkling_text", "W_V of what it reads|no embedding|has the shape")],
)  # fmt: skip
def test_what_no_matrix_describes_is_seen_without_a_record(name, words, tmp_path, monkeypatch):
    text_families.build(name).save_pretrained(tmp_path)
    monkeypatch.delitem(UNREADABLE, name, raising=False)
    monkeypatch.delitem(FAMILIES, name, raising=False)
    with pytest.raises(AtlasError, match=words):
        WeightReader(tmp_path)


@torch.no_grad()
def live_expert_mean(layer, name, rows):
    """The mean of all experts, each by itself, times the weight that the router gives away, and what is shared."""
    x = layer.post_attention_layernorm(rows)
    block = layer.block_sparse_moe if name.startswith("granitemoe") else layer.mlp
    experts, number = block.experts, 4
    singly = [experts(x, torch.full((len(x), 1), at), torch.ones(len(x), 1)) for at in range(number)]
    seen = {}
    handle = experts.register_forward_pre_hook(lambda module, given: seen.update(weights=given[2]))
    routed = block(x[:, None])
    handle.remove()
    routed = (routed[0] if isinstance(routed, tuple) else routed).reshape(x.shape)
    chosen = experts(x, *ranked(block, experts, x))
    shared = routed - chosen
    if name in ("granitemoeshared", "granitemoehybrid"):
        shared = shared + layer.shared_mlp(x)
    return seen["weights"].sum(-1, keepdim=True) * torch.stack(singly).mean(0) + shared


def ranked(block, experts, x):
    """What the router of `block` hands to its experts."""
    seen = []
    handle = experts.register_forward_pre_hook(lambda module, given: seen.append(given[1:]))
    block(x[:, None])
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    "name", ["mixtral", "qwen3_moe", "qwen2_moe", "deepseek_v2", "granitemoeshared", "granitemoehybrid"]
)
def test_the_mean_of_experts_is_that_of_each_by_itself(name, tmp_path):
    model = text_families.build(name)
    model.save_pretrained(tmp_path)
    reader = WeightReader(tmp_path)
    rows = reader.embedded(torch.arange(5, 60), torch.float32)
    mean, routed = (reader.lifted(rows, state) for state in ("expert_mean", "routed"))
    expected = live_expert_mean(architectures.decoder_layers(model)[0], name, rows)
    torch.testing.assert_close(mean, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-4)
    assert not torch.allclose(mean, routed, atol=1e-2)


def test_experts_that_are_called_otherwise_are_refused(tmp_path):
    text_families.build("llama4_text").save_pretrained(tmp_path)
    reader = WeightReader(tmp_path)
    with pytest.raises(AtlasError, match="not given tokens and weights in the common way; take first_experts"):
        reader.lifted(reader.embedded(torch.arange(5), torch.float32), "expert_mean")


def test_layers_without_attention_have_no_row(tmp_path):
    """Two shards, one of which has no attention layer at all, join to what one run gives."""
    text_families.build("jamba").save_pretrained(tmp_path)
    pairs = some_pairs()
    whole = map_heads(tmp_path, pairs, k_max=K_MAX, threads=1)
    assert whole["layers"].tolist() == [0, 2]
    parts = [map_heads(tmp_path, pairs, [layer], k_max=K_MAX, threads=1) for layer in range(4)]
    assert [len(part["layers"]) for part in parts] == [1, 0, 1, 0]
    joined = storage.merge(parts[::-1])
    assert all(np.array_equal(whole[key], joined[key]) for key in whole)
    assert {key: value.dtype for key, value in whole.items()} == {key: value.dtype for key, value in joined.items()}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("wrapper", text_families.WRAPPERS)
def test_the_decoder_in_a_wrapper_is_read(wrapper, tied, tmp_path):
    model = text_families.build_wrapper(wrapper, tied=tied)
    model.save_pretrained(tmp_path)
    assert architectures.read_shape(tmp_path).layers == 3
    pairs = some_pairs()
    result = map_heads(tmp_path, pairs, [2], k_max=K_MAX, threads=1)
    decoder = model.get_decoder()
    rows = model.get_input_embeddings().weight[pairs["source_id"].tolist()].detach()
    layer = decoder.layers[0]
    with torch.no_grad():
        if wrapper == "gemma3":
            lifted = layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(rows)))
        else:
            lifted = layer.mlp(layer.post_attention_layernorm(rows))
    check(result, live_maps(model, lifted, 2)[None], pairs, tolerance=1e-5)
