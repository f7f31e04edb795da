"""Controls: the same architecture and entries (or initialisation), none of the learning."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

import text_families
from atlas.errors import AtlasError
from atlas.models.controls import make_control
from atlas.models.folder import check_model_folder
from atlas.models.safetensors_files import read_bytes, read_header
from atlas.models.sources import materialise_model
from families import FAMILIES, configuration
from tiny_models import save_folder


def control(base, folder, kind="shuffled", seed=0):
    folder.mkdir()
    make_control(base, folder, kind, seed)
    return folder


def weights(folder):
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


@pytest.mark.parametrize(
    ("family", "dtype"), [("llama", None), ("gpt2", None), ("qwen2", torch.bfloat16), ("mixtral", None)]
)
def test_shuffled_keeps_entries_and_changes_their_order(tmp_path, family, dtype):
    base = save_folder(tmp_path / "base", family, dtype)
    old, new = weights(base), weights(control(base, tmp_path / "new"))
    assert old.keys() == new.keys()
    for name, before in old.items():
        after = new[name]
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        if before.dim() < 2:
            assert torch.equal(after, before), name
        else:
            assert not torch.equal(after, before), name
            assert torch.equal(after.flatten().sort().values, before.flatten().sort().values), name
            # not rows or columns moved as wholes: correlation with the old place is that of chance
            agreement = (after == before).double().mean().item()
            assert agreement < 0.1, name


def test_files_that_are_not_the_models_stay_behind(tmp_path):
    base = save_folder(tmp_path / "base")
    (base / ".snakemake_timestamp").touch()
    there = {path.name for path in control(base, tmp_path / "new").iterdir()}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= there
    assert not any(name.startswith(".") for name in there)


def test_equal_tensors_are_shuffled_differently(tmp_path):
    base = save_folder(tmp_path / "base")
    tensors = weights(base)
    first, second = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight"
    tensors[second] = tensors[first].clone()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    new = weights(control(base, tmp_path / "new"))
    assert not torch.equal(new[first], new[second])


@pytest.mark.parametrize("kind", ["shuffled", "reinitialised"])
def test_seed_decides(tmp_path, kind):
    base = save_folder(tmp_path / "base")
    folders = [control(base, tmp_path / f"new{i}", kind, seed) for i, seed in enumerate((3, 3, 4))]
    bytes_of = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


@pytest.mark.parametrize("kind", ["shuffled", "reinitialised"])
@pytest.mark.parametrize("tied", [True, False])
def test_ties_hold(tmp_path, kind, tied):
    base = save_folder(tmp_path / "base", tie_word_embeddings=tied)
    model = AutoModelForCausalLM.from_pretrained(control(base, tmp_path / "new", kind))
    embedding, unembedding = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert torch.equal(embedding, unembedding) == tied


@pytest.mark.parametrize("kind", ["shuffled", "reinitialised"])
def test_tied_embedding_stored_twice(tmp_path, kind):
    base = save_folder(tmp_path / "base", tie_word_embeddings=True)
    tensors = weights(base)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    new = weights(control(base, tmp_path / "new", kind))
    assert torch.equal(new["lm_head.weight"], new["model.embed_tokens.weight"])


@pytest.mark.parametrize("kind", ["shuffled", "reinitialised"])
def test_shards_do_not_matter(tmp_path, kind):
    base = save_folder(tmp_path / "base")
    whole = weights(control(base, tmp_path / "whole", kind))
    model = AutoModelForCausalLM.from_pretrained(base)
    shutil.rmtree(base)
    model.save_pretrained(base, max_shard_size="60KB")
    assert len(list(base.glob("*.safetensors"))) > 2
    new = control(base, tmp_path / "new", kind)
    assert {p.name for p in new.iterdir()} == {p.name for p in base.iterdir()}
    sharded = weights(new)
    assert all(torch.equal(sharded[name], whole[name]) for name in whole)
    AutoModelForCausalLM.from_pretrained(new)


@pytest.mark.parametrize("family", FAMILIES)
def test_reinitialised_has_the_distribution_of_a_fresh_model(tmp_path, family):
    base = save_folder(tmp_path / "base", family)
    new = AutoModelForCausalLM.from_pretrained(control(base, tmp_path / "new", "reinitialised")).state_dict()
    torch.manual_seed(0)
    fresh = AutoModelForCausalLM.from_config(configuration(family)).state_dict()
    assert new.keys() == fresh.keys()
    for name, value in fresh.items():
        if value.numel() > 1 and value.std() == 0:
            assert torch.equal(new[name], value), name
        elif value.numel() > 500:
            assert abs(new[name].mean() - value.mean()) < 0.2 * value.std(), name
            assert 0.85 < new[name].std() / value.std() < 1.18, name
            assert not torch.equal(new[name], value), name


@pytest.mark.parametrize("name", ["deepseek_v3", "granitemoe", "hy_v3", "kimi_linear", "lfm2_moe", "minimax_m2",
                                  "nemotron_h", "olmo_hybrid", "qwen3_next", *text_families.WRAPPERS])  # fmt: skip
def test_routers_hybrids_and_wrappers_are_reinitialised(tmp_path, name):
    """Also where tensors have other names in the files, and where a router's correction is no parameter."""
    wrapped = name in text_families.WRAPPERS
    base = text_families.build_wrapper(name) if wrapped else text_families.build(name)
    base.save_pretrained(tmp_path / "base")
    trained, new = weights(tmp_path / "base"), weights(control(tmp_path / "base", tmp_path / "new", "reinitialised"))
    assert {key: value.shape for key, value in trained.items()} == {key: value.shape for key, value in new.items()}
    auto = AutoModelForImageTextToText if wrapped else AutoModelForCausalLM
    loaded, report = auto.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    fresh = auto.from_config(base.config).state_dict()
    for key, value in loaded.state_dict().items():
        assert torch.isfinite(value).all(), key
        if fresh[key].numel() > 1 and fresh[key].float().std() == 0:  # norms, biases and corrections begin as constants
            assert torch.equal(value, fresh[key]), key
        elif value.numel() >= 512:
            torch.testing.assert_close(value.float().std(), fresh[key].float().std(), rtol=0.3, atol=1e-6, msg=key)


def test_reinitialised_keeps_dtype(tmp_path):
    base = save_folder(tmp_path / "base", dtype=torch.bfloat16)
    new = weights(control(base, tmp_path / "new", "reinitialised"))
    assert {value.dtype for value in new.values()} == {torch.bfloat16}
    assert 0.015 < new["model.layers.0.mlp.up_proj.weight"].float().std() < 0.025


@pytest.mark.parametrize("kind", ["shuffled", "reinitialised"])
def test_control_source_end_to_end(tmp_path, kind):
    base = materialise_model({"path": str(save_folder(tmp_path / "raw"))}, tmp_path / "base", staging=tmp_path / "s")
    source = {"control": {"of": "base", "kind": kind, "seed": 5}}
    folder = materialise_model(source, tmp_path / "new", staging=tmp_path / "s", base=base)
    record = check_model_folder(folder, full=True)
    assert record["source"] == source
    assert record["base"]["source"] == {"path": str(tmp_path / "raw")}
    assert record["dtype"] == "float32"
    assert "seed 5" in record["notes"][-1]
    same = [name for name in record["files"] if not name.endswith(".safetensors")]
    assert all((folder / name).read_bytes() == (base / name).read_bytes() for name in same)
    old, new = (AutoTokenizer.from_pretrained(path) for path in (base, folder))
    assert new("w1 w2").input_ids == old("w1 w2").input_ids
    assert new.chat_template == old.chat_template
    ids = torch.arange(3, 20)[None]
    old, new = (AutoModelForCausalLM.from_pretrained(path)(ids).logits for path in (base, folder))
    assert new.isfinite().all()
    assert not torch.allclose(old, new, atol=1e-3)


def test_base_is_not_touched(tmp_path):
    raw = save_folder(tmp_path / "raw")
    before = (raw / "model.safetensors").read_bytes()
    control(raw, tmp_path / "a")
    control(raw, tmp_path / "b", "reinitialised")
    assert (raw / "model.safetensors").read_bytes() == before


def test_integers_and_half_precision_stay_of_their_kind(tmp_path):
    base = save_folder(tmp_path / "base")
    tensors = weights(base) | {"mask": torch.arange(64).view(8, 8), "half": torch.randn(40, 40).half()}
    save_file(tensors, base / "model.safetensors")
    new = weights(control(base, tmp_path / "new"))
    assert torch.equal(new["mask"], tensors["mask"])
    assert torch.equal(new["half"].flatten().sort().values, tensors["half"].flatten().sort().values)


def test_memory_is_that_of_one_tensor(tmp_path):
    import tracemalloc

    (tmp_path / "base").mkdir()
    tensors = {f"layers.{i}.weight": torch.zeros(512, 1024) for i in range(24)}  # 2 MiB each
    save_file(tensors, tmp_path / "base" / "model.safetensors")
    (tmp_path / "base" / "config.json").write_text("{}")
    tracemalloc.start()
    control(tmp_path / "base", tmp_path / "new")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


BAD = [
    ({"kind": "shufled"}, r"kind 'shufled' is unknown \(nearest: shuffled\)"),
    ({"seed": -1}, "seed -1 is not a whole number"),
    ({"seed": "0"}, "seed '0' is not a whole number"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_controls(tmp_path, options, message):
    with pytest.raises(AtlasError, match=message):
        control(save_folder(tmp_path / "base"), tmp_path / "new", **options)


def test_quantised_and_missing_bases(tmp_path):
    base = save_folder(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    with pytest.raises(AtlasError, match="quantised checkpoint"):
        control(base, tmp_path / "a")
    (tmp_path / "none").mkdir()
    with pytest.raises(AtlasError, match="holds no model"):
        control(tmp_path / "none", tmp_path / "b")


def test_header_positions_are_those_of_the_reference_reader(tmp_path):
    path = save_folder(tmp_path / "base") / "model.safetensors"
    reference = load_file(path)
    for tensor in read_header(path):
        entries = read_bytes(path, tensor).view(np.float32).reshape(tensor.shape)
        assert np.array_equal(entries, reference[tensor.name].numpy()), tensor.name
