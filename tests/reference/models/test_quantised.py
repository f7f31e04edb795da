"""FP8 checkpoints: read tensor by tensor, and loaded, they are the model of the dequantised weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import text_families
from atlas.analyses.head_categories.extract import map_heads
from atlas.errors import AtlasError
from atlas.models.acceptance import check_source
from atlas.models.first_layer import FirstLayer
from atlas.models.loading import load_model
from atlas.models.stored_tensors import dequantised
from atlas.models.weights import WeightReader
from head_maps import some_pairs
from quantised import quantise


def both(tmp_path, name, dtype=torch.bfloat16):
    """(folder in FP8, folder of what it stands for in float32)."""
    packed, plain = tmp_path / "packed", tmp_path / "plain"
    text_families.build(name, dtype=dtype).save_pretrained(packed)
    shutil.copytree(packed, plain)
    meant = quantise(packed)
    save_file({name: tensor.float().contiguous() for name, tensor in meant.items()}, plain / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    return packed, plain


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3", "qwen3_moe"])
def test_loaded_it_is_the_model_of_the_dequantised_weights(name, dtype, tmp_path):
    packed, plain = both(tmp_path, name)
    check_source([file.name for file in packed.iterdir()] + ["tokenizer.json"], packed.iterdir(), "it")
    one, other = load_model(packed, device="cpu", dtype=dtype), load_model(plain, device="cpu", dtype=dtype)
    for (key, found), (_, expected) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert found.dtype == expected.dtype, key
        assert torch.equal(found, expected), key
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(one(ids).logits, other(ids).logits)


@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3", "qwen3_moe"])
def test_read_by_tensor_it_is_too(name, tmp_path):
    packed, plain = both(tmp_path, name)
    one, other = WeightReader(packed), WeightReader(plain)
    for layer in (0, 3):
        assert torch.equal(one.value_weights(layer), other.value_weights(layer))
        assert torch.equal(one.output_weights(layer), other.output_weights(layer))
    found, expected = (
        map_heads(folder, some_pairs(), [2], k_max=12, threads=1, first_experts="routed") for folder in (packed, plain)
    )
    assert all((found[key] == expected[key]).all() for key in found)
    rows = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(FirstLayer(packed).first_mlp(rows), FirstLayer(plain).first_mlp(rows))


def test_blocks_that_the_edge_cuts_off():
    """DeepSeek's latent projection has 576 rows in blocks of 128."""
    packed = torch.randn(9, 7, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn)
    scales = torch.rand(3, 2, generator=torch.Generator().manual_seed(1))
    expected = torch.tensor([[float(packed[i, j]) * float(scales[i // 4, j // 4]) for j in range(7)] for i in range(9)])
    torch.testing.assert_close(dequantised(packed, scales, (4, 4), "it"), expected)
    whole = torch.tensor(0.5)
    assert torch.equal(dequantised(packed, whole, None, "it"), packed.float() / 2)
    exponents = torch.tensor([[128, 126]], dtype=torch.uint8)
    found = dequantised(packed[:, :6], exponents, None, "it")
    assert torch.equal(found, packed[:, :6].float() * torch.tensor([2.0, 2, 2, 0.5, 0.5, 0.5]))
    with pytest.raises(AtlasError, match="9 x 7 does not fit its 4 x 2 scales"):
        dequantised(packed, torch.ones(4, 2), (4, 4), "it")


def test_missing_scales_are_named(tmp_path):
    packed, _ = both(tmp_path, "qwen3")
    path = packed / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.self_attn.v_proj.weight_scale_inv"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(AtlasError, match=r"layers\.1\.self_attn\.v_proj\.weight' is quantised .* without scales"):
        WeightReader(packed).value_weights(1)


def test_experts_in_four_bits_are_refused(tmp_path):
    packed, _ = both(tmp_path, "qwen3")
    path = packed / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["expert_dtype"] = "fp4"
    path.write_text(json.dumps(config))
    with pytest.raises(AtlasError, match="keeps its experts in fp4, which nothing here reads"):
        check_source([file.name for file in packed.iterdir()] + ["tokenizer.json"], packed.iterdir(), "it")
