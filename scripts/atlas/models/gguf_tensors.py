"""A converted model's tensors against the GGUF's own, read by the `gguf` package: all of them, number by number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.models.gguf_config import ARCHITECTURES, Architecture
from atlas.models.gguf_rope import FACTORS

if TYPE_CHECKING:
    from gguf import ReaderTensor
    from jaxtyping import Float
    from transformers import PreTrainedModel

    from atlas.models.gguf_file import GgufFile


def check_tensors(file: GgufFile, model: PreTrainedModel) -> None:
    """Every tensor of the file is one of the model with the same numbers, and every one of the model is in the file.

    The names are those of the `gguf` package, not those that transformers converted by. The factors of rotary positions
    are no weights; they are in the configuration. Memory: one dequantised tensor. Raises AtlasError naming the tensor.
    """
    weights = model.state_dict()
    embedding = model.get_input_embeddings().weight
    tied = {name for name, value in model.named_parameters(remove_duplicate=False) if value is embedding}
    names = _names(file, model, tied)
    if spare := [name for name in file.tensors if name not in names and name not in FACTORS]:
        raise file.refuse(f"the tensor {spare[0]!r} is not carried over ({len(spare)} such)")
    for theirs, ours in names.items():
        if theirs not in file.tensors:
            if ours in tied and "token_embd.weight" in file.tensors:
                continue
            raise file.refuse(f"it lacks the tensor {theirs!r}, which its architecture has")
        expected = as_stored_by_family(file.tensors[theirs], ARCHITECTURES[file.architecture], model)
        found = weights[ours].numpy()
        if expected.shape != found.shape or not np.array_equal(expected, found):
            raise file.refuse(f"the tensor {theirs!r} was not converted to the numbers that the file holds")


def _names(file: GgufFile, model: PreTrainedModel, tied: set[str]) -> dict[str, str]:
    """The file's name of each of the model's tensors -> the model's name; of those tied to another, if it has one."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == file.architecture)
    table = get_tensor_name_map(kind, model.config.num_hidden_layers)
    names = {}
    for ours in model.state_dict():
        base, _, suffix = ours.rpartition(".")
        theirs = table.get_name(base)
        if theirs is None and ours in tied:
            continue
        if theirs is None:
            raise file.refuse(f"the model's tensor {ours!r} has no place in files of its architecture")
        names[f"{theirs}.{suffix}"] = ours
    return names


def as_stored_by_family(
    tensor: ReaderTensor, architecture: Architecture, model: PreTrainedModel
) -> Float[np.ndarray, "*shape"]:
    """A tensor of the file, float32, in the layout of its family's checkpoints."""
    from gguf import dequantize

    values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    if tensor.name.endswith(architecture.transposed):
        return values.T
    if tensor.name.endswith("norm.weight"):
        return values - np.float32(architecture.norm_offset)
    if architecture.permuted and (".attn_q." in tensor.name or ".attn_k." in tensor.name):
        config = model.config
        heads = config.num_attention_heads if ".attn_q." in tensor.name else config.num_key_value_heads
        pairs = values.reshape(heads, len(values) // heads // 2, 2, *values.shape[1:])
        return pairs.swapaxes(1, 2).reshape(values.shape)
    return values
