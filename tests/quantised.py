"""Checkpoints with FP8 weights in blocks, as DeepSeek-V3 and Qwen3 are published, and what they mean."""

import json

import torch
from safetensors.torch import load_file, save_file

BLOCK = (16, 24)
LEFT = ("embed_tokens", "lm_head", "norm", ".mlp.gate.", "bias")  # kept as they are, as in the published checkpoints


def quantise(folder, block=BLOCK, **more):
    """Turns the matrices of a saved model into FP8 with a scale for each block; returns what they stand for."""
    path = folder / "model.safetensors"
    stored, meant = {}, {}
    for name, tensor in load_file(path).items():
        if tensor.dim() != 2 or any(part in name for part in LEFT):
            stored[name] = meant[name] = tensor
            continue
        rows, columns = tensor.shape
        size = (block[0] if rows % block[0] == 0 else rows, block[1] if columns % block[1] == 0 else columns)
        blocks = tensor.view(rows // size[0], size[0], columns // size[1], size[1]).float()
        scale = blocks.abs().amax((1, 3)) / 448
        packed = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
        stored[name] = packed.view(rows, columns)
        stored[f"{name}_scale_inv"] = scale
        meant[name] = (packed.float() * scale[:, None, :, None]).view(rows, columns)
    save_file(stored, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": list(block), **more,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return meant
