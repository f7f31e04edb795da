"""Weights read from the files against the live model that was saved to them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import families
from atlas.errors import AtlasError
from atlas.models import architectures
from atlas.models.weights import FIRST_EXPERTS, WeightReader

ALL = sorted(families.FAMILIES)
DENSE = [name for name in ALL if name not in ("mixtral", "gpt_oss")]
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


def saved(folder, name, **options):
    model = families.build(name, **options)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("name", ALL)
def test_value_and_output_weights_reproduce_the_attention_output(name, tmp_path):
    """o = sum_h A_h (x W_V^h) W_O^h + b_V W_O + b_O for the live attention pattern A and the live input x."""
    model = saved(tmp_path, name)
    reader = WeightReader(tmp_path)
    shape = reader.shape
    for layer in (0, 2):
        attention = architectures.attention_modules(model)[layer]
        seen = {}

        def keep_input(module, args, kwargs, seen=seen):
            seen["x"] = kwargs.get("hidden_states", args[0] if args else None)

        def keep_output(module, args, out, seen=seen):
            seen["out"], seen["pattern"] = out[:2]

        handles = [
            attention.register_forward_pre_hook(keep_input, with_kwargs=True),
            attention.register_forward_hook(keep_output),
        ]
        with torch.no_grad():
            model(IDS, use_cache=False)
        for handle in handles:
            handle.remove()
        x, pattern = seen["x"][0], seen["pattern"][0]  # (T, width), (heads, T, T)
        value, output = reader.value_weights(layer), reader.output_weights(layer)
        assert value.shape == (shape.kv_heads, shape.width, shape.value_width)
        assert output.shape == (shape.heads, shape.value_width, shape.width)
        kv = torch.arange(shape.heads) // shape.group
        result = torch.einsum("hts,sd,hdv,hvw->tw", pattern, x, value[kv], output)
        # Attention sinks take mass: the biases of V are weighted by what is left.
        bias_v = value_bias(attention, shape)
        result += torch.einsum("ht,hv,hvw->tw", pattern.sum(-1), bias_v[kv], output)
        bias_o = architectures.output_projection(attention).bias
        result += 0 if bias_o is None else bias_o
        torch.testing.assert_close(result, seen["out"][0], atol=2e-5, rtol=1e-4)


def value_bias(attention, shape):
    """(kv_heads, value_width), from the live module."""
    rows = shape.kv_heads * shape.value_width
    for name in ("v_proj", "qkv_proj", "c_attn", "query_key_value"):
        module = getattr(attention, name, None)
        if module is None:
            continue
        if module.bias is None:
            break
        if name == "query_key_value":
            return module.bias.view(shape.heads, 3, -1)[:, 2]
        return module.bias[-rows:].view(shape.kv_heads, -1)
    return torch.zeros(shape.kv_heads, shape.value_width)


@pytest.mark.parametrize("name", DENSE)
def test_first_mlp_equals_the_live_submodules(name, tmp_path, monkeypatch):
    """What layer 0 adds through its MLP when its input is a raw row of the embedding."""
    model = saved(tmp_path, name)
    layer = architectures.decoder_layers(model)[0]
    reader = WeightReader(tmp_path)
    rows = model.get_input_embeddings().weight[IDS[0]]
    assert torch.equal(reader.embedding_rows(IDS[0]), rows)
    with torch.no_grad():
        if name == "opt":
            expected = layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(rows))))
        else:
            norm = {"gpt2": "ln_2", "gpt2_scaled": "ln_2", "phi": "input_layernorm", "cohere2": "input_layernorm"}
            norm |= {"gemma2": "pre_feedforward_layernorm", "gemma3": "pre_feedforward_layernorm", "olmo2": None}
            norm = norm.get(name, "post_attention_layernorm")
            expected = layer.mlp(rows if norm is None else getattr(layer, norm)(rows))
            if name in ("gemma2", "gemma3", "olmo2"):
                expected = layer.post_feedforward_layernorm(expected)
    torch.testing.assert_close(reader.lifted(rows, "first_mlp"), expected, atol=1e-6, rtol=1e-5)
    monkeypatch.setattr("atlas.models.weights._MLP_CHUNK", 24)
    torch.testing.assert_close(reader.lifted(rows, "first_mlp"), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_what_stands_for_a_source_of_a_mixture_is_an_option(name, tmp_path):
    saved(tmp_path, name)
    reader = WeightReader(tmp_path)
    assert [reader.first_state(True, how) for how in FIRST_EXPERTS] == ["embedding", "routed", "expert_mean"]
    assert reader.first_state(False, "routed") == "embedding"
    rows = torch.ones(2, 48)
    assert reader.lifted(rows, "embedding") is rows
    with pytest.raises(AtlasError, match="first_experts must be one of embedding, routed, expert_mean, not 'mean'"):
        reader.first_state(True, "mean")


def test_a_dense_first_mlp_is_taken_whatever_is_said_of_experts(tmp_path):
    saved(tmp_path, "llama")
    reader = WeightReader(tmp_path)
    assert {reader.first_state(True, how) for how in FIRST_EXPERTS} == {"first_mlp"}
    assert reader.first_state(False, "routed") == "embedding"


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_unembedding_tied_or_not(name, tied, tmp_path):
    model = saved(tmp_path, name, tie_word_embeddings=tied)
    assert torch.equal(WeightReader(tmp_path).unembedding(), model.get_output_embeddings().weight)
    assert torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight) == tied


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_as_stored(dtype, tmp_path):
    model = saved(tmp_path, "llama", dtype=dtype)
    reader = WeightReader(tmp_path)
    assert reader.unembedding().dtype == dtype
    value = model.model.layers[1].self_attn.v_proj.weight
    assert torch.equal(reader.value_weights(1)[1], value[8:].T)
    rows = reader.embedding_rows(IDS[0]).float()
    assert reader.lifted(rows, "first_mlp").dtype == torch.float32


def test_sharded_checkpoint(tmp_path):
    model = families.build("llama")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    reader = WeightReader(tmp_path)
    for layer in range(4):
        weight = model.model.layers[layer].self_attn.o_proj.weight
        assert torch.equal(reader.output_weights(layer)[2], weight[:, 16:24].T)
    save_file({"lm_head.weight": torch.zeros(199, 48)}, tmp_path.parent / "elsewhere.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lm_head.weight"] = "../elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(AtlasError, match="elsewhere"):
        WeightReader(tmp_path)
    index.write_text("[]")
    with pytest.raises(AtlasError, match="no index"):
        WeightReader(tmp_path)


def test_base_model_names_without_prefix(tmp_path):
    model = saved(tmp_path, "gpt2")
    path = tmp_path / "model.safetensors"
    save_file({name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}, path)
    assert torch.equal(WeightReader(tmp_path).unembedding(), model.transformer.wte.weight)


def test_a_header_of_odd_length_is_read_too(tmp_path):
    """Such files exist: their tensors are not aligned, so they cannot be mapped as they are."""
    model = saved(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    path.write_bytes((length + 1).to_bytes(8, "little") + content[8 : 8 + length] + b" " + content[8 + length :])
    assert torch.equal(WeightReader(tmp_path).unembedding(), model.lm_head.weight)


def test_tokens_outside_the_table_are_named(tmp_path):
    saved(tmp_path, "llama")
    with pytest.raises(AtlasError, match="Token 199"):
        WeightReader(tmp_path).embedding_rows(torch.tensor([3, 199]))


def rewrite(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("model.layers.1.self_attn.v_proj.weight"), r"lacks the tensor 'model\.layers\.1"),
        (lambda t: t["model.layers.1.self_attn.v_proj.weight"].fill_(float("nan")), r"layers\.1\.self_attn.*NaN"),
        (lambda t: t.update({"model.layers.1.self_attn.v_proj.weight": torch.zeros(8, 48)}), "8 x 48 where"),
        (lambda t: t.update({"model.layers.1.self_attn.v_proj.weight": torch.zeros(16, 48).char()}), "quantised"),
        (lambda t: t.pop("model.embed_tokens.weight"), "embed_tokens"),
        (lambda t: t.pop("lm_head.weight"), "not tied"),
        (lambda t: t["lm_head.weight"].fill_(float("inf")), "lm_head.*NaN or infinite"),
        (lambda t: t["model.embed_tokens.weight"].fill_(float("inf")), "embed_tokens.*NaN or infinite"),
    ],
)
def test_bad_checkpoints_are_named(change, words, tmp_path):
    saved(tmp_path, "llama")
    rewrite(tmp_path, change)

    def read():
        reader = WeightReader(tmp_path)
        return reader.value_weights(1), reader.unembedding(), reader.embedding_rows(IDS[0])

    with pytest.raises(AtlasError, match=words):
        read()


def test_unsupported_families_and_variants(tmp_path):
    for model_type, words in (("qwen3_next", "gate for each channel"), ("mamba", "no record, and .* no attention"),
                              ("bart", "read an encoder"), ("bert", "no record, and no attention")):  # fmt: skip
        sizes = {"encoder_layers": 2, "decoder_layers": 2} if model_type == "bart" else {"num_hidden_layers": 2}
        AutoConfig.for_model(model_type, **sizes).save_pretrained(tmp_path)
        with pytest.raises(AtlasError, match=f"Family '{model_type}' is not supported by head categories: .*{words}"):
            WeightReader(tmp_path)
    saved(tmp_path, "stablelm", use_parallel_residual=True)
    with pytest.raises(AtlasError, match="parallel"):
        WeightReader(tmp_path)
