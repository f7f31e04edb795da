"""GGUF files back to checkpoints: the same log-probabilities as the model that was written, or a refusal by name."""

import json
import math
import re

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

import gguf_files
from atlas.data.tokens import special_ids
from atlas.errors import AtlasError
from atlas.models.convert import convert_gguf
from atlas.models.gguf_rope import llama3_factors
from atlas.models.loading import load_model
from places import ROOT

IDS = torch.arange(3, 103).unsqueeze(0) * 7 % 280 + 3


def converted(path, folder):
    convert_gguf(path, folder)
    return load_model(folder, device="cpu")


@torch.no_grad()
def assert_same(found, live):
    torch.testing.assert_close(found(IDS).logits, live.float()(IDS).logits, atol=2e-4, rtol=0)


def documented_types():
    text = (ROOT / "docs" / "adding.md").read_text()
    return re.search(r"Types that convert[^:]*: ([\w, \n]+)\.", text)[1].replace("\n", " ").split(", ")


@pytest.mark.parametrize("kind", documented_types())
def test_documented_types_convert_to_the_numbers_that_gguf_reads(tmp_path, kind):
    import gguf

    small = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 64}
    live = gguf_files.model("qwen2", num_hidden_layers=1, **small)
    path = gguf_files.write(tmp_path / "m.gguf", live, kind=kind)
    note = convert_gguf(path, tmp_path / "m")
    assert note == f"{'converted from GGUF' if kind.endswith(('F32', 'F16')) else 'dequantised from'} {kind} to float32"
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    found = load_model(tmp_path / "m", device="cpu").model.layers[0].mlp.down_proj.weight.detach().numpy()
    stored = tensors["blk.0.ffn_down.weight"]
    np.testing.assert_array_equal(found, gguf.dequantize(stored.data, stored.tensor_type))
    assert len(np.unique(found)) > 2


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K"])
def test_types_that_nothing_reads_are_refused_by_name(tmp_path, kind):
    small = {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4, "head_dim": 64}
    path = gguf_files.write(tmp_path / "m.gguf", gguf_files.model("qwen2", num_hidden_layers=1, **small), kind=kind)
    with pytest.raises(AtlasError, match=kind):
        convert_gguf(path, tmp_path / "m")


def rope(theta=1e4, **parameters):
    return {"rope_parameters": {"rope_theta": theta, **parameters}}


# What a checkpoint can say -> (family, changes of its configuration, what the converter writes beside the usual).
STATED = {
    "another base": ("llama", rope(5e5, rope_type="default"), {}),
    "linear": (
        "llama",
        rope(rope_type="linear", factor=4.0),
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "a factor without a type is linear": ("qwen2", rope(rope_type="linear", factor=2.0), {"rope.scaling.factor": 2.0}),
    "the old key of linear": ("llama", rope(rope_type="linear", factor=2.0), {"rope.scale_linear": 2.0}),
    "none": ("llama", {}, {"rope.scaling.type": "none"}),
    "a scale of scores": ("gemma2", {"query_pre_attn_scalar": 24}, {"attention.scale": 24**-0.5}),
    "yarn": (
        "qwen2",
        rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=32),
        {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32},
    ),
    "yarn with its own ramp": (
        "llama",
        rope(rope_type="yarn", factor=8.0, original_max_position_embeddings=16, beta_fast=16.0, beta_slow=2.0),
        {
            "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 16,
            "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0, "rope.scaling.finetuned": True,
        },
    ),
    "gemma 3 scales its layers without a window": (
        "gemma3",
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        },
        {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "gemma 3 has windows where the file says": (
        "gemma3",
        {"layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]},
        {"attention.sliding_window_pattern": [False, True, False, True]},
    ),
    "gemma 3 without a window": ("gemma3", {"layer_types": ["full_attention"] * 4}, {"attention.sliding_window": None}),
    "gemma 2 has caps": ("gemma2", {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}, {}),
    "stablelm rotates a part": ("stablelm", rope(rope_type="default", partial_rotary_factor=0.5), {}),
    "phi 3 rotates a part": ("phi3", rope(rope_type="default", partial_rotary_factor=0.5), {}),
    "phi 4 has none": ("phi3", {}, {"attention.sliding_window": 0}),
    "phi 3 has a window": ("phi3", {"sliding_window": 8}, {}),
    "starcoder 2 has a base": ("starcoder2", rope(1e5, rope_type="default"), {}),
    "heads wider than the model's share": ("llama", {"head_dim": 16}, {}),
    "untied": ("qwen2", {"tie_word_embeddings": False}, {}),
    "tied": ("llama", {"tie_word_embeddings": True}, {}),
}  # fmt: skip


@pytest.mark.parametrize("family", gguf_files.FAMILIES)
def test_every_architecture_comes_back(family, tmp_path):
    live = gguf_files.model(family)
    found = converted(gguf_files.write(tmp_path / "m.gguf", live), tmp_path / "m")
    assert_same(found, live)


@pytest.mark.parametrize(("family", "changes", "stated"), STATED.values(), ids=STATED)
def test_what_the_file_states_is_what_runs(family, changes, stated, tmp_path):
    live = gguf_files.model(family, **changes)
    found = converted(gguf_files.write(tmp_path / "m.gguf", live, keys=stated), tmp_path / "m")
    assert_same(found, live)


def test_llama_3_factors_become_its_parameters(tmp_path):
    parameters = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    live = gguf_files.model("llama", head_dim=32, **rope(5e5, **parameters))
    plain = gguf_files.model("llama", head_dim=32, **rope(5e5, rope_type="default"))
    ratio = plain.model.rotary_emb.inv_freq / live.model.rotary_emb.inv_freq
    np.testing.assert_allclose(ratio.numpy(), llama3_factors(8.0, 5e5, 32), rtol=1e-5)
    path = gguf_files.write(tmp_path / "m.gguf", live, extra={"rope_freqs.weight": ratio.numpy()})
    found = converted(path, tmp_path / "m")
    assert found.config.rope_parameters == {"rope_theta": 5e5, **parameters}
    assert_same(found, live)


@pytest.mark.parametrize("seed", range(4))
def test_any_factors_divide_the_frequencies(seed, tmp_path):
    """Also such as no rule gives; checked against the frequencies themselves."""
    factors = np.random.default_rng(seed).uniform(1, 30, 4).astype(np.float32)
    live = gguf_files.model("llama")
    path = gguf_files.write(tmp_path / "m.gguf", live, extra={"rope_freqs.weight": factors})
    found = converted(path, tmp_path / "m")
    live.model.rotary_emb.inv_freq /= torch.from_numpy(factors)
    assert_same(found, live)
    found(torch.ones(1, 128, dtype=torch.long))
    torch.testing.assert_close(found.model.rotary_emb.inv_freq, live.model.rotary_emb.inv_freq)


@pytest.mark.parametrize("attention", [None, 1.25])
def test_phi_3_has_two_lists_of_factors(attention, tmp_path):
    short, long = [1.0, 1.5, 2.0, 3.0], [2.0, 4.0, 6.0, 9.0]
    default = math.sqrt(1 + math.log(4) / math.log(32))
    live = gguf_files.model(
        "phi3",
        original_max_position_embeddings=32,
        **rope(
            rope_type="longrope", short_factor=short, long_factor=long, original_max_position_embeddings=32,
            attention_factor=attention or default,
        ),
    )  # fmt: skip
    path = gguf_files.write(
        tmp_path / "m.gguf",
        live,
        keys={"rope.scaling.original_context_length": 32, "rope.scaling.attn_factor": attention},
        extra={
            "rope_factors_long.weight": np.array(long, np.float32),
            "rope_factors_short.weight": np.array(short, np.float32),
        },
    )
    found = converted(path, tmp_path / "m")
    with torch.no_grad():
        for ids in (IDS[:, :20], IDS):  # below and above the length that it was trained on
            torch.testing.assert_close(found(ids).logits, live(ids).logits, atol=2e-4, rtol=0)


def keys(**values):
    return {"keys": {name.replace("__", "."): value for name, value in values.items()}}


def tensor(name, *entries):
    return {"extra": {name: np.array(entries, np.float32)}}


def plain(**values):
    return {"plain": {name.replace("__", "."): value for name, value in values.items()}}


REFUSED = {
    "an unknown key": (
        "llama",
        keys(rope__scaling__alpha=3.0),
        r"m\.gguf: the metadata key 'llama\.rope\.scaling\.alpha'",
    ),
    "a key of nowhere": ("llama", plain(own__setting=1), r"key 'own\.setting' \(1\) is not carried over"),
    "experts": ("llama", keys(expert_count=4), r"'llama\.expert_count' \(4\)"),
    "an unknown tensor": ("llama", tensor("blk.0.attn_q.bias", *[1] * 48), r"the tensor 'blk\.0\.attn_q\.bias' is not"),
    "a tensor less": ("llama", {"drop": ["blk.1.ffn_up.weight"]}, r"lacks the tensor 'blk\.1\.ffn_up"),
    "a scaling without a form": ("llama", keys(rope__scaling__type="su"), r"rotary scaling of the type 'su'"),
    "half of longrope": ("phi3", tensor("rope_factors_long.weight", 1, 1, 1, 2), r"longrope scaling is incomplete"),
    "longrope without factors": ("phi3", keys(rope__scaling__type="longrope"), r"longrope scaling is incomplete"),
    "factors of another width": ("llama", tensor("rope_freqs.weight", 1, 2), r"'rope_freqs\.weight' is no list of 4"),
    "negative factors": ("llama", tensor("rope_freqs.weight", 1, 2, 3, -4), r"'rope_freqs\.weight' is no list of 4"),
    "factors and scaling": (
        "llama",
        keys(rope__scaling__factor=2.0) | tensor("rope_freqs.weight", 1, 2, 3, 4),
        r"'rope_freqs\.weight' beside other rotary scaling",
    ),
    "yarn and factors": (
        "llama",
        keys(rope__scaling__type="yarn", rope__scaling__factor=2.0) | tensor("rope_freqs.weight", 1, 2, 3, 4),
        r"yarn scaling together with the tensor 'rope_freqs",
    ),
    "a factor for nothing": ("llama", keys(rope__scaling__attn_factor=1.2), r"'rope\.scaling\.attn_factor' \(1\.2"),
    "a window that a family lacks": ("llama", keys(attention__sliding_window=8), r"sliding window of 8 tokens"),
    "values of another width": ("qwen3", keys(attention__value_length=4), r"value heads are 4 wide"),
    "a part of a head rotated": ("qwen2", keys(rope__dimension_count=4), r"rotates 4 of the 8 dimensions"),
    "both directions": ("llama", keys(attention__causal=False), "not causal"),
    "positions where there are none": ("gpt2", keys(rope__freq_base=1e5), r"'gpt2\.rope\.freq_base'"),
    "layers that differ": (
        "llama",
        keys(feed_forward_length=[64, 64, 64, 32]),
        r"'llama\.feed_forward_length' differs",
    ),
    "a way to split text": ("llama", plain(tokenizer__ggml__pre="viking"), r"'viking' \('tokenizer\.ggml\.pre'\)"),
    "a space before": ("llama", plain(tokenizer__ggml__add_space_prefix=True), r"'tokenizer\.ggml\.add_space_prefix'"),
    "an adapter": ("llama", plain(general__type="adapter"), r"m\.gguf is a LoRA adapter.*llama-export-lora"),
    "a value of another type": ("llama", keys(rope__freq_base="large"), r"m\.gguf cannot be converted \(.*'large'"),
    "a token that is none": ("llama", plain(tokenizer__ggml__eos_token_id="</s>"), r"m\.gguf cannot be converted"),
    "no context": ("llama", keys(context_length=None), r"lacks the metadata key 'llama\.context_length'"),
    "a context of nothing": ("llama", keys(context_length=0), r"lacks the metadata key 'llama\.context_length'"),
    "no constant in its norms": (
        "qwen2",
        keys(attention__layer_norm_rms_epsilon=None),
        r"'qwen2\.attention\.layer_norm_rms_epsilon' or 'qwen2\.attention\.layer_norm_epsilon'",
    ),
    "a scale of scores without a form": ("gemma2", keys(attention__scale=0.4), r"'attention\.scale' \(0\.4"),
    "a projector": ("llama", plain(general__type="mmproj"), r"of the type 'mmproj'"),
}


@pytest.mark.parametrize(("family", "changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_over_is_named(family, changes, message, tmp_path):
    gguf_files.write(tmp_path / "m.gguf", gguf_files.model(family), **changes)
    with pytest.raises(AtlasError, match=message) as caught:
        convert_gguf(tmp_path / "m.gguf", tmp_path / "m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(12))
def test_no_key_and_no_tensor_is_dropped(seed, tmp_path):
    """A property of generated files: what is added beyond what the model has is named, whatever it is called."""
    rng = np.random.default_rng(seed)
    family = gguf_files.FAMILIES[seed % len(gguf_files.FAMILIES)]
    arch = gguf_files.NAMES.get(f"{family}_text", family)
    word = "".join(rng.choice(list("abcdefgh"), 6))
    live = gguf_files.model(family)
    added = [f"{arch}.{word}", f"{arch}.attention.{word}", f"{arch}.rope.{word}", f"tokenizer.ggml.{word}", f"{word}.x"]
    key = added[seed % len(added)]
    gguf_files.write(tmp_path / "k.gguf", live, plain={key: float(rng.normal())})
    with pytest.raises(AtlasError, match=f"'{key}'"):
        convert_gguf(tmp_path / "k.gguf", tmp_path / "k")
    name = [f"{word}.weight", f"blk.1.{word}.weight", "blk.0.attn_output_norm.bias", f"rope_{word}"][seed % 4]
    gguf_files.write(tmp_path / "t.gguf", live, extra={name: rng.normal(size=8).astype(np.float32)})
    with pytest.raises(AtlasError, match=f"'{name}'"):
        convert_gguf(tmp_path / "t.gguf", tmp_path / "t")


def test_descriptions_are_no_settings(tmp_path):
    descriptions = {
        "general.license": "apache-2.0",
        "general.sampling.temp": 0.5,
        "quantize.imatrix.file": "x",
        "split.count": 1,
    }
    live = gguf_files.model("llama")
    assert_same(converted(gguf_files.write(tmp_path / "m.gguf", live, plain=descriptions), tmp_path / "m"), live)


def test_all_end_tokens_are_kept(tmp_path):
    path = gguf_files.write(tmp_path / "m.gguf", gguf_files.model("llama"), plain={"tokenizer.ggml.eot_token_id": 7})
    convert_gguf(path, tmp_path / "m")
    assert json.loads((tmp_path / "m" / "generation_config.json").read_text())["eos_token_id"] == [2, 7]


@pytest.mark.parametrize("flag", [True, False, None])
@pytest.mark.parametrize("pre", [None, "llama-bpe", "gpt-2", "smollm"])
def test_begin_token_is_put_where_the_file_says(flag, pre, tmp_path):
    says = plain(tokenizer__ggml__add_bos_token=flag, tokenizer__ggml__pre=pre)
    convert_gguf(gguf_files.write(tmp_path / "m.gguf", gguf_files.model("llama"), **says), tmp_path / "m")
    begins = AutoTokenizer.from_pretrained(tmp_path / "m")("ab").input_ids[0] == 1
    assert begins == (pre == "llama-bpe" if flag is None else flag)


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3"])
@pytest.mark.parametrize("begins", [True, False, None])
@pytest.mark.parametrize("space", [True, False, None])
def test_sentencepiece_puts_a_space_and_a_begin_token_where_the_file_says(family, begins, space, tmp_path):
    """By default a begin token, and a space unless the model is a Gemma; what has no form is refused by name."""
    says = plain(tokenizer__ggml__add_bos_token=begins, tokenizer__ggml__add_space_prefix=space)
    gguf_files.write(tmp_path / "m.gguf", gguf_files.model(family), sentencepiece=True, **says)
    usual = family != "gemma3"
    if space not in (None, usual) and family != "llama":
        with pytest.raises(AtlasError, match=r"'tokenizer\.ggml\.add_space_prefix'"):
            convert_gguf(tmp_path / "m.gguf", tmp_path / "m")
        return
    convert_gguf(tmp_path / "m.gguf", tmp_path / "m")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "m").tokenize("ab", add_special_tokens=True)
    spaced = usual if space is None else space
    assert tokens == (["<s>"] if begins is not False else []) + (["▁ab"] if spaced else ["ab"])


def test_no_token_is_beyond_the_embeddings(tmp_path):
    convert_gguf(gguf_files.write(tmp_path / "m.gguf", gguf_files.model("llama")), tmp_path / "m")
    assert len(AutoTokenizer.from_pretrained(tmp_path / "m")) == gguf_files.VOCABULARY


@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("mark", ["<tool_call>", "<｜User｜>", "<｜begin▁of▁sentence｜>", "  ", "\n\n", "思考"])
def test_a_marked_token_is_found_whole_in_a_text_whatever_its_letters(mark, kind, tmp_path):
    """Control tokens (3) and those that a user defined (4); neither takes the place of what merges make."""
    words = {110: ("Ġ", 1), 111: ("ĠĠ", 1), 112: ("Ċ", 1), 200: (mark, kind)}
    convert_gguf(gguf_files.write(tmp_path / "m.gguf", gguf_files.model("llama"), words=words), tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    whole = tokenizer.convert_tokens_to_ids(["a", "b"])
    assert tokenizer(f"a{mark}b", add_special_tokens=False).input_ids == [whole[0], 200, whole[1]]
    assert (200 in special_ids(tokenizer)) == (kind == 3)
    assert tokenizer.convert_tokens_to_ids("ĠĠ") == 111
    assert len(tokenizer) == gguf_files.VOCABULARY


def test_a_begin_token_of_other_letters_stands_in_front(tmp_path):
    says = plain(tokenizer__ggml__bos_token_id=200, tokenizer__ggml__add_bos_token=True)
    live, words = gguf_files.model("llama"), {200: ("<｜begin▁of▁sentence｜>", 3)}
    convert_gguf(gguf_files.write(tmp_path / "m.gguf", live, words=words, **says), tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert tokenizer("a").input_ids == [200, tokenizer.convert_tokens_to_ids("a")]


def test_digits_are_split_where_the_file_says(tmp_path):
    says = plain(tokenizer__ggml__pre="smollm")
    convert_gguf(gguf_files.write(tmp_path / "m.gguf", gguf_files.model("llama"), **says), tmp_path / "m")
    backend = AutoTokenizer.from_pretrained(tmp_path / "m").backend_tokenizer
    pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("a  12 b")]
    assert pieces == ["a", "ĠĠ", "1", "2", "Ġb"]


def test_a_tensor_that_is_converted_wrongly_is_noticed(tmp_path):
    """Rows of Q in the order of another number of heads: what a wrong converter would make."""
    from atlas.models.gguf_file import GgufFile
    from atlas.models.gguf_tensors import check_tensors

    live = gguf_files.model("llama")
    path = gguf_files.write(tmp_path / "m.gguf", live)
    check_tensors(GgufFile(path), live)
    with torch.no_grad():
        live.model.layers[1].self_attn.q_proj.weight[[0, 1]] = live.model.layers[1].self_attn.q_proj.weight[[1, 0]]
    with pytest.raises(AtlasError, match=r"'blk\.1\.attn_q\.weight' was not converted to the numbers"):
        check_tensors(GgufFile(path), live)
