"""The family table against the live models it describes."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import families
from atlas.errors import AtlasError
from atlas.models import architectures, auto_classes
from atlas.models.families import FAMILIES, WRAPPED
from atlas.models.unreadable import UNREADABLE
from places import ROOT

ALL = sorted(families.FAMILIES)


@pytest.mark.parametrize("name", ALL)
def test_shape_equals_live_modules(name, tmp_path):
    model = families.build(name)
    model.config.save_pretrained(tmp_path)
    shape = architectures.read_shape(tmp_path)
    assert shape == architectures.read_shape(model.config) == architectures.read_shape(model.config.to_dict())
    assert shape == architectures.read_shape(str(tmp_path))

    attention = architectures.attention_modules(model)
    assert list(attention) == list(range(shape.layers))
    head = architectures.unembedding(model)
    assert head.weight.shape == (shape.vocabulary, shape.width)
    projection = architectures.output_projection(attention[0]).weight
    assert sorted(projection.shape) == sorted((shape.width, shape.heads * shape.value_width))
    assert shape.context == 128
    assert shape.group * shape.kv_heads == shape.heads

    seen = {}

    def spy(module, query, key, value, attention_mask, **kwargs):
        seen.update(heads=query.shape[1], kv=key.shape[1], head_width=query.shape[-1], value_width=value.shape[-1])
        return torch.zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None

    from transformers import AttentionInterface

    AttentionInterface.register("shape_spy", spy)
    model.set_attn_implementation("shape_spy")
    with torch.no_grad():
        model(torch.tensor([[5, 6, 7]]), use_cache=False)
    assert (seen["heads"], seen["kv"]) == (shape.heads, shape.kv_heads)
    assert (seen["head_width"], seen["value_width"]) == (shape.head_width, shape.value_width)


# Their attention has other names, or not every layer has one, or transformers cannot build them without a head_dim.
OTHERWISE = (
    "bamba", "ctrl", "dots1", "falcon_h1", "gpt_neo", "hunyuan_v1_dense", "hunyuan_v1_moe", "jamba", "kimi_linear",
    "ministral", "nemotron", "nemotron_h", "recurrent_gemma",
)  # fmt: skip


@pytest.mark.parametrize("left_out", ["all", "head_dim"])
@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - set(WRAPPED)))
def test_defaults_of_a_sparse_config(model_type, left_out, tmp_path):
    """A config.json that leaves sizes to the family's class gives what the class gives."""
    values = AutoConfig.for_model(model_type).to_dict() if left_out == "head_dim" else {}
    values.pop("head_dim", None)
    (tmp_path / "config.json").write_text(json.dumps({**values, "model_type": model_type}))
    config = AutoConfig.from_pretrained(tmp_path)
    shape = architectures.read_shape(tmp_path)
    assert (shape.layers, shape.heads) == (config.num_hidden_layers, config.num_attention_heads)
    assert (shape.width, shape.vocabulary) == (config.hidden_size, config.vocab_size)
    assert shape.group * shape.kv_heads == shape.heads
    if model_type in OTHERWISE:
        return
    with torch.device("meta"):
        config.num_hidden_layers = 1
        config.layer_types = ["full_attention"]
        model = AutoModelForCausalLM.from_config(config)
    attention = architectures.attention_modules(model)[0]
    rows = sorted(architectures.output_projection(attention).weight.shape)
    assert rows == sorted((shape.width, shape.heads * shape.value_width))
    if hasattr(attention, "v_proj"):
        assert attention.v_proj.weight.shape[0] == shape.kv_heads * shape.value_width


def test_explicit_null_means_derived(tmp_path):
    values = {
        "model_type": "mistral",
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_hidden_layers": 2,
        "vocab_size": 9,
    }
    (tmp_path / "config.json").write_text(json.dumps({**values, "num_key_value_heads": None, "head_dim": None}))
    shape = architectures.read_shape(tmp_path)
    assert (shape.kv_heads, shape.head_width) == (6, 8)


def test_shape_of_a_known_family_needs_no_torch(tmp_path):
    families.configuration("gemma2").save_pretrained(tmp_path)
    code = (
        "import sys; from atlas.models.architectures import read_shape; print(read_shape(sys.argv[1]).head_width);"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "8", run.stderr


def test_shape_of_a_family_outside_the_table(tmp_path):
    families.configuration("bloom").save_pretrained(tmp_path)
    shape = architectures.read_shape(tmp_path)
    assert (shape.layers, shape.heads, shape.kv_heads, shape.width, shape.head_width) == (4, 6, 6, 48, 8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "not valid JSON"),
        ("[]", "names no model_type"),
        ('{"model_type": "no_such"}', "no_such"),
        (
            '{"model_type": "llama", "num_key_value_heads": 5, "num_attention_heads": 6, "hidden_size": 48, '
            '"num_hidden_layers": 1, "vocab_size": 5}',
            "cannot share",
        ),
        (
            '{"model_type": "llama", "num_key_value_heads": 6, "num_attention_heads": "6", "hidden_size": 48, '
            '"num_hidden_layers": 1, "vocab_size": 5}',
            "config.json",
        ),
    ],
)
def test_bad_configuration_is_one_sentence(content, words, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(AtlasError, match=words) as caught:
        architectures.read_shape(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_family_is_readable_or_not_and_not_both():
    assert not set(FAMILIES) & set(UNREADABLE)
    with pytest.raises(
        AtlasError, match="'afmoe' is not supported by head categories: what a head writes passes a gate"
    ):
        architectures.family_of("afmoe", purpose="head categories")


def test_unknown_family_lists_the_supported_ones():
    with pytest.raises(AtlasError, match=r"'mamba' is not supported by head categories; supported: .*llama.*qwen3"):
        architectures.family_of("mamba", purpose="head categories")


@pytest.mark.parametrize("name", ALL)
def test_families_with_the_attention_interface_pass(name):
    auto_classes.attention_implementation(families.configuration(name))


@pytest.mark.parametrize(("model_type", "expected"), [("falcon", "sdpa"), ("gptj", "eager"), ("bloom", "eager")])
def test_families_without_it_load_for_what_reads_no_attention(model_type, expected):
    assert auto_classes.attention_implementation(AutoConfig.for_model(model_type)) == expected


def test_what_is_no_decoder_is_refused():
    with pytest.raises(AtlasError, match="t5"):
        auto_classes.attention_implementation(AutoConfig.for_model("t5"))


@pytest.mark.parametrize("name", ALL)
def test_final_states_times_the_unembedding_are_the_logits(name):
    """With the family's factor and cap; what enters the unembedding is the base model's last state, normed already."""
    model = families.build(name)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        logits = model(ids).logits
        states = model.base_model(ids).last_hidden_state
    factor, cap = architectures.logit_scaling(model.config)
    scale = getattr(model.config, "logit_scale", None) or 1 / (getattr(model.config, "logits_scaling", None) or 1)
    assert factor == scale
    assert cap == getattr(model.config, "final_logit_softcapping", None)
    expected = architectures.unembedding(model)(states) * factor
    expected = expected if cap is None else torch.tanh(expected / cap) * cap
    torch.testing.assert_close(logits, expected)


def test_layers_are_found_beside_a_list_as_long():
    """A vision tower of the same depth stands outside the decoder."""
    model = families.build("llama")
    layers = model.model.layers
    tower = torch.nn.ModuleList(torch.nn.Identity() for _ in layers)
    model._modules = {"tower": tower, **model._modules}
    assert architectures.decoder_layers(model) is layers


def test_a_decoder_without_layers_is_refused():
    model = families.build("llama")
    model.config.num_hidden_layers = 3
    with pytest.raises(AtlasError, match="No list of 3 decoder layers in LlamaForCausalLM"):
        architectures.decoder_layers(model)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "llama", "intermediate_size": 14_336}, 43_008),
        ({"model_type": "gpt_neox", "intermediate_size": 20_480, "hidden_act": "gelu"}, 40_960),
        ({"model_type": "gpt2", "n_embd": 1_600, "n_inner": None, "activation_function": "gelu_new"}, 25_600),
        ({"model_type": "opt", "ffn_dim": 64, "activation_function": "relu"}, 128),
        ({"model_type": "mixtral", "intermediate_size": 64}, 0),
        ({"model_type": "unheard of", "intermediate_size": 64}, 0),
    ],
)
def test_states_of_the_mlp(config, expected):
    assert architectures.mlp_states(config) == expected
