"""What is no model that can be analysed is named at the download; of a hub, before its weights come in."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.errors import AtlasError
from atlas.models.acceptance import check_source
from atlas.models.sources import materialise_model
from serving import Server
from tiny_models import save_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LORA = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def model(tmp_path):
    return save_folder(tmp_path / "raw")


def bring(source, tmp_path):
    return materialise_model(source, tmp_path / "models" / "m", staging=tmp_path / "staging", log=lambda _: None)


def remove(folder, *patterns):
    for pattern in patterns:
        for path in folder.glob(pattern):
            path.unlink()


def configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def adapter_file(folder, name="adapter_model.safetensors"):
    save_file({LORA: torch.ones(2, 48)}, folder / name)


def adapter_config(folder, **values):
    facts = {"peft_type": "LORA", "base_model_name_or_path": "some/base"} | values
    (folder / "adapter_config.json").write_text(json.dumps(facts))


def beside(folder):
    adapter_file(folder)
    adapter_config(folder)


def instead(folder):
    remove(folder, "config.json", "model.safetensors")
    beside(folder)


def instead_pickled(folder):
    remove(folder, "config.json", "model.safetensors")
    adapter_config(folder, peft_type="IA3")
    (folder / "adapter_model.bin").write_bytes(b"pickle")


def of_another_name(folder):
    remove(folder, "config.json", "model.safetensors")
    adapter_file(folder, "my-lora.safetensors")


def unmerged(folder):
    path = folder / "model.safetensors"
    save_file(load_file(path) | {LORA: torch.ones(2, 48)}, path, metadata={"format": "pt"})


def quantised(**facts):
    return lambda folder: configure(folder, quantization_config=facts)


def float8(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name].to(torch.float8_e4m3fn)}, path, metadata={"format": "pt"})


def scales(folder):
    path = folder / "model.safetensors"
    name = "model.layers.0.mlp.up_proj.weight_scale"
    save_file(load_file(path) | {name: torch.ones(1)}, path, metadata={"format": "pt"})


def one_of_two(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def index_of(*names):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        spread = dict(zip(tensors, itertools.cycle(names), strict=False))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": spread}))
        (folder / "model.safetensors").rename(folder / names[0])

    return change


def no_tokenizer(*keep):
    def change(folder):
        remove(folder, "tokenizer*", "special*", "vocab*", "merges*")
        for name in keep:
            (folder / name).write_text("{}")

    return change


# change -> (message, whether the small files of a hub tell)
REFUSED = {
    "an adapter beside a model": (
        beside, r"holds a.* adapter.* beside a model, which would run without it: merge it .*file: model\.safe", True,
    ),
    "an adapter instead of a model": (
        instead, r"is a.* adapter.*, a change of a base model and no model itself: merge it .*docs/adding", True,
    ),
    "a pickled adapter": (instead_pickled, r"is a.* adapter.* and no model itself: merge it into its base first", True),
    "an adapter of another name": (of_another_name, r"(LoRA adapter that was not merged|no config\.json)", True),
    "an adapter among the weights": (unmerged, r"holds the tensor '.*lora_A\.weight' of a LoRA adapter", False),
    "modelopt": (quantised(quant_method="modelopt", quant_algo="FP8"), r"is quantised \(config\.json: modelopt", True),
    "mxfp8": (quantised(quant_method="mxfp8"), r"quantised \(config\.json: mxfp8\), .* needs .* kernels", True),
    "awq": (quantised(quant_method="awq", bits=4), r"\(config\.json: awq\), which needs the package gptqmodel", True),
    "gptq": (quantised(quant_method="gptq", bits=4), r"config\.json: gptq\), which needs the package gptqmodel", True),
    "bitsandbytes": (quantised(quant_method="bitsandbytes"), r"which needs the package bitsandbytes", True),
    "old bitsandbytes": (quantised(load_in_4bit=True), r"which needs the package bitsandbytes", True),
    "compressed-tensors": (quantised(quant_method="compressed-tensors"), r"needs the package compressed-tensors", True),
    "a method of nowhere": (quantised(quant_method="my-own"), r"my-own\), which nothing here reads", True),
    "no method": (quantised(bits=4), r"unknown\), which nothing here reads", True),
    "in the text part": (
        lambda folder: configure(folder, text_config={"quantization_config": {"quant_method": "awq"}}), r"awq\)", True,
    ),
    "under its old name": (
        lambda folder: configure(folder, compression_config={"quant_method": "compressed-tensors"}), r"compress", True,
    ),
    "said in a file of modelopt": (
        lambda folder: (folder / "hf_quant_config.json").write_text("{}"), r"hf_quant_config\.json: modelopt\)", True,
    ),
    "said in a file of AutoGPTQ": (
        lambda folder: (folder / "quantize_config.json").write_text("{}"), r"quantize_config\.json: gptq\)", True,
    ),
    "float8 without a quantiser": (float8, r"up_proj\.weight' is quantised \(F8_E4M3\), but", False),
    "scales without a quantiser": (scales, r"up_proj\.weight_scale', which a model of its config\.json does", False),
    "one of two shards": (one_of_two, r"has 1 of 2 shards .* and no model\.safetensors\.index\.json", True),
    "a shard gone": (index_of("a-1.safetensors", "a-2.safetensors"), r"names a-2\.safetensors, which is missing", True),
    "a chat template alone": (no_tokenizer("chat_template.jinja"), r"has no tokenizer files", True),
    "special tokens alone": (no_tokenizer("special_tokens_map.json", "tokenizer_config.json"), r"no tokenizer", True),
    "half of a tokenizer": (no_tokenizer("vocab.json"), r"has no tokenizer files", True),
    "no configuration": (lambda folder: remove(folder, "config.json"), r"has no config\.json: add", True),
    "end tokens cut off": (
        lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": [2,'),
        r"generation_config\.json is not valid JSON", True,
    ),
    "an end token that is none": (
        lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": [2, "</s>"]}'),
        r"eos_token_id '</s>' is no token id", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message", "_early"), REFUSED.values(), ids=REFUSED)
def test_a_folder_is_refused(change, message, _early, model, tmp_path):
    change(model)
    with pytest.raises(AtlasError, match=message) as caught:
        bring({"path": str(model)}, tmp_path)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(("change", "message", "early"), REFUSED.values(), ids=REFUSED)
def test_a_repository_is_refused_before_its_weights_come_in(change, message, early, model, tmp_path, monkeypatch):
    change(model)
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("some/model", COMMIT, {path.name: path.read_bytes() for path in model.iterdir()})
        with pytest.raises(AtlasError, match=message):
            bring({"hub": {"repo": "some/model", "revision": COMMIT}}, tmp_path)
        fetched = [path for method, path, _ in server.requests if method == "GET" and path.endswith(".safetensors")]
    assert bool(fetched) != early
    assert not list((tmp_path / "models").iterdir())


def test_the_base_model_alone_can_be_named(model, tmp_path, monkeypatch):
    beside(model)
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("some/model", COMMIT, {path.name: path.read_bytes() for path in model.iterdir()})
        hub = {"repo": "some/model", "revision": COMMIT, "file": "model.safetensors"}
        folder = bring({"hub": hub}, tmp_path)
    assert not list(folder.glob("adapter*"))


def test_an_adapter_says_whose_it_is(model, tmp_path):
    instead(model)
    with pytest.raises(AtlasError, match=r"is a LORA adapter of some/base \(adapter_config\.json\)"):
        bring({"path": str(model)}, tmp_path)


def test_consolidated_weights_are_the_same_once_more(model, tmp_path):
    (model / "consolidated.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    folder = bring({"path": str(model)}, tmp_path)
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]


def test_shards_with_their_index_pass(model, tmp_path):
    index_of("a-1.safetensors")(model)
    bring({"path": str(model)}, tmp_path)


PARTS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja",
         "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")  # fmt: skip


@pytest.mark.parametrize("size", range(4))
def test_a_tokenizer_is_what_text_can_be_cut_with(size, tmp_path):
    """Over all small sets of files: passes if and only if a vocabulary is there, with merges where it needs them."""
    for files in itertools.combinations(PARTS, size):
        whole = {"tokenizer.json", "tokenizer.model", "vocab.txt"} & set(files)
        good = bool(whole) or {"vocab.json", "merges.txt"} <= set(files)
        names = ["config.json", "model.safetensors", *files]
        if good:
            check_source(names, [], "it")
        else:
            with pytest.raises(AtlasError, match="it has no tokenizer files"):
                check_source(names, [], "it")
