"""Model folders and GGUF files with headers, indexes, configurations and tokenizers that do not fit or are damaged."""

import json
import struct
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from atlas.checksums import sha256_file
from atlas.models.folder import check_model_folder
from atlas.models.sources import materialise_model
from atlas.models.weights import WeightReader
from hostile import NUMBERS, Refused, answer, damaged, examples, files_below, mutated, untouched, values
from tiny_models import save_folder, save_gguf

JSON = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
small = st.one_of(
    values,
    st.sampled_from([*NUMBERS, "llama", "mistral", "gpt2", "float16", "F16", "BF16", "I64", [0, 4], [4, 0], [64], []]),
)


@cache
def plain():
    """{name: bytes} of a tiny Llama."""
    with tempfile.TemporaryDirectory() as place:
        return files_below(save_folder(Path(place, "m"), num_hidden_layers=2, max_position_embeddings=64))


@cache
def sharded():
    """The same in two shards with their index."""
    header, data = opened(plain()["model.safetensors"])
    names = sorted(header)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    files = {name: content for name, content in plain().items() if name != "model.safetensors"}
    for file, held in parts.items():
        own, body = {}, b""
        for name in held:
            begin, end = header[name]["data_offsets"]
            own[name] = {**header[name], "data_offsets": [len(body), len(body) + end - begin]}
            body += data[begin:end]
        files[file] = closed(own, body)
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held}}
    return files | {"model.safetensors.index.json": json.dumps(index).encode()}


def opened(content):
    """(header without metadata, bytes of the tensors) of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, content[8 + length :]


def closed(header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


@st.composite
def folders(draw):
    files = dict(draw(st.sampled_from([plain(), sharded()])))
    weights = sorted(name for name in files if name.endswith(".safetensors"))
    index = [name for name in files if name.endswith("index.json")]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        match draw(st.sampled_from(["json", "json", "header", "header", "bytes", "index", "add", "drop", "name"])):
            case "json":
                name = draw(st.sampled_from(JSON))
                files[name] = json.dumps(draw(mutated(json.loads(plain()[name]), small))).encode()
            case "index" if index:
                files[index[0]] = json.dumps(
                    draw(mutated(json.loads(files[index[0]]), st.sampled_from(weights)))
                ).encode()
            case "header" | "index":
                name = draw(st.sampled_from(weights))
                header, data = opened((plain() | sharded())[name])
                changed = draw(mutated(header, small))
                files[name] = closed(changed, data + draw(st.sampled_from([b"", b"", b"", bytes(64)])))
            case "bytes":
                name = draw(st.sampled_from(sorted(files)))
                files[name] = draw(damaged(files[name]))
            case "add":
                name = draw(
                    st.sampled_from(
                        [
                            "model.safetensors",
                            "consolidated.safetensors",
                            "x.safetensors",
                            "model.gguf",
                            "pytorch_model.bin",
                            *("adapter_config.json", "modeling_x.py", "added_tokens.json", "chat_template.jinja"),
                        ]
                    )
                )
                files[name] = draw(st.sampled_from(list(files.values())))
            case "drop":
                files.pop(draw(st.sampled_from(sorted(files))))
            case "name":
                name = draw(st.sampled_from(sorted(files)))
                files[draw(st.sampled_from(["model.safetensors", "a.safetensors", name + ".bak", "Config.json"]))] = (
                    files.pop(name)
                )
    return files


def stored(folder):
    """{name: tensor} of all safetensors files of a folder, by their own library."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                assert name not in found
                found[name] = opened.get_tensor(name)
    return found


def check_model(folder):
    """Two readers see one model: what is stored, what transformers loads, what the reader of single tensors gives."""
    record = check_model_folder(folder, full=True)
    for name, facts in record["files"].items():
        assert facts["sha256"] == sha256_file(folder / name)
    tensors = stored(folder)
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    assert not report["unexpected_keys"]
    state = model.state_dict()
    assert set(tensors) <= set(state), set(tensors) ^ set(state)
    for name, tensor in tensors.items():
        assert torch.equal(torch.nan_to_num(state[name]), torch.nan_to_num(tensor.float())), name
    reader = answer(WeightReader, folder)
    if not isinstance(reader, Refused):
        rows = torch.arange(3)
        ours = answer(reader.embedding_rows, rows)
        if not isinstance(ours, Refused):
            theirs = model.get_input_embeddings().weight[rows]
            assert torch.equal(torch.nan_to_num(ours.float()), torch.nan_to_num(theirs))


@examples(25, 0.05)
@given(folders())
def test_a_model_folder_is_one_model_or_refused(files):
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place, "in"), Path(place, "out", "m")
        source.mkdir()
        for name, content in files.items():
            (source / name).write_bytes(content)
        with untouched(source):
            found = answer(
                materialise_model, {"path": str(source)}, out, staging=Path(place, "staging"), log=lambda _: None
            )
        if isinstance(found, Refused):
            assert not list(Path(place).glob("out/**/*")), list(Path(place).glob("out/**/*"))
        else:
            check_model(out)


@cache
def gguf():
    """(bytes of a tiny GGUF, {name: values} that a reader must find)."""
    with tempfile.TemporaryDirectory() as place:
        values = save_gguf(Path(place, "x.gguf"))
        return Path(place, "x.gguf").read_bytes(), values


@examples(12, 0.05)
@given(st.data())
def test_a_gguf_is_converted_as_it_stands_or_refused(data):
    content, _ = gguf()
    head = content[:12000]  # metadata and the list of tensors: what stands behind is numbers, right whatever they are
    changed = (
        data.draw(damaged(head)) + content[12000:] if data.draw(st.integers(0, 3)) else data.draw(damaged(content))
    )
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place, "in", "x.gguf"), Path(place, "out", "m")
        source.parent.mkdir()
        source.write_bytes(changed)
        with untouched(source.parent):
            found = answer(
                materialise_model, {"path": str(source)}, out, staging=Path(place, "staging"), log=lambda _: None
            )
        if isinstance(found, Refused):
            assert not list(Path(place).glob("out/**/*"))
            return
        from gguf import GGUFReader, quants

        read = {t.name: quants.dequantize(t.data, t.tensor_type) for t in GGUFReader(source).tensors}
        converted = stored(out)
        for name, role in (("token_embd.weight", "embed_tokens.weight"), ("output_norm.weight", "model.norm.weight")):
            ours = next(tensor for key, tensor in converted.items() if key.endswith(role)).numpy()
            assert np.array_equal(ours.ravel(), read[name].ravel(), equal_nan=True)
        check_model(out)
