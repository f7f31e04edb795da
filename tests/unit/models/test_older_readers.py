"""Folders made of a GGUF say to an older reader what they say to transformers 5."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

import gguf_files
from atlas.models.convert import convert_gguf
from atlas.models.older_readers import old_rotation

LINEAR = {"rope_type": "linear", "factor": 4.0}
LONG = {"rope_type": "longrope", "long_factor": [2.0] * 4, "short_factor": [1.0] * 4, "factor": 1.0,
        "attention_factor": 1.0, "original_max_position_embeddings": 128}  # fmt: skip


def written(tmp_path, family, more=None, **changes):
    """(config.json, tokenizer_config.json, folder) of a converted GGUF."""
    path = gguf_files.write(tmp_path / "m.gguf", gguf_files.model(family, **changes), **(more or {}))
    convert_gguf(path, tmp_path / "m")
    read = [json.loads((tmp_path / "m" / name).read_text()) for name in ("config.json", "tokenizer_config.json")]
    return *read, tmp_path / "m"


def seen_before_5(config):
    """(base, scaling, share of a head that is rotated, base of layers with a window) by the names of transformers 4.46
    and its defaults for names that are not there."""
    return (
        config.get("rope_theta", 10_000.0),
        config.get("rope_scaling"),
        config.get("partial_rotary_factor"),
        config.get("rope_local_base_freq", 10_000.0),
    )


@pytest.mark.parametrize("family", ["llama", "qwen2", "starcoder2"])
def test_a_base_is_where_older_readers_look_for_it(tmp_path, family):
    rotation = {"rope_theta": 1e5, "rope_type": "default"}
    config, _, _ = written(tmp_path, family, rope_parameters=rotation)
    assert seen_before_5(config) == (1e5, None, None, 10_000.0)
    assert config["rope_parameters"]["rope_theta"] == 1e5


def test_a_scaling_is_where_older_readers_look_for_it_and_transformers_reads_the_same(tmp_path):
    keys = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    rotation = {"rope_theta": 5e4, **LINEAR}
    config, _, folder = written(tmp_path, "llama", {"keys": keys}, rope_parameters=rotation)
    assert seen_before_5(config) == (5e4, LINEAR, None, 10_000.0)
    assert AutoConfig.from_pretrained(folder).rope_parameters == rotation
    del config["rope_parameters"]  # what an older reader knows alone makes the same model
    assert LlamaConfig(**config).rope_parameters == rotation


def test_a_part_of_a_head_that_is_rotated_is_said(tmp_path):
    rotation = {"rope_theta": 2e4, "rope_type": "default", "partial_rotary_factor": 0.5}
    config, _, _ = written(tmp_path, "stablelm", rope_parameters=rotation)
    assert seen_before_5(config) == (2e4, None, 0.5, 10_000.0)


def test_rotations_by_type_of_layer_have_their_two_bases():
    rotation = {"full_attention": {"rope_theta": 1e6, **LINEAR}, "sliding_attention": {"rope_theta": 2e4}}
    assert seen_before_5(old_rotation(rotation)) == (1e6, LINEAR, None, 2e4)
    assert old_rotation({"rope_theta": 3e4, **LONG}) == {"rope_theta": 3e4, "rope_scaling": LONG}


def test_the_tokenizers_class_is_one_that_older_readers_know(tmp_path):
    _, tokens, folder = written(tmp_path, "llama")
    known = {"PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer", "GPT2TokenizerFast"}
    assert tokens["tokenizer_class"] in known
    text = "a plain text, 12 of it"
    alone = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    assert AutoTokenizer.from_pretrained(folder)(text).input_ids == alone(text).input_ids
    assert torch.tensor(alone(text).input_ids).numel() > 3
