"""Families without a record: read by the names of their modules, where a loaded layer agrees with what is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from atlas.errors import AtlasError
from atlas.models.architectures import (
    attention_modules,
    auto_config,
    decoder_layers,
    input_embedding,
    output_projection,
    unembedding,
)
from atlas.models.family_record import Family
from atlas.models.first_layer import FirstLayer

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import nn

    from atlas.models.weights import WeightReader

_VALUE = "v_proj"
_OF_ENCODERS = ("encoder_attn", "cross_attn", "crossattention")
_ROWS, _SAME = 8, 1e-4  # states that are tried, and what 1 - cosine may be by rounding


def derived_family(folder: Path, purpose: str) -> Family:
    """A record from the modules of the architecture in `folder`, without weights; its first MLP is run (first_layer).

    Raises AtlasError where they have other names than the common ones.
    """
    from transformers import AutoModelForCausalLM

    config = auto_config(folder)
    refused = f"Family {config.get_text_config().model_type!r} is not supported by {purpose}"
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        layers, attention = decoder_layers(model), attention_modules(model)
        ends = [input_embedding(model), unembedding(model)]
        layer = next((index for index, module in attention.items() if hasattr(module, _VALUE)), None)
        if layer is None:
            raise AtlasError(f"no attention has a module {_VALUE}.")
        if any(name in dict(layers[layer].named_children()) for name in _OF_ENCODERS):
            raise AtlasError("its layers read an encoder too.")
        path = {id(module): name for name, module in model.named_modules()}
        inside = path[id(layers)]
        embedding, head = (path[id(module)] for module in ends)
        value, output = getattr(attention[layer], _VALUE), output_projection(attention[layer])
    except (AtlasError, ValueError, KeyError) as error:
        raise AtlasError(f"{refused}: it has no record, and {str(error).splitlines()[0].rstrip('.')}.") from None
    prefix = inside.rpartition(".")[0] + "."

    def within(module: nn.Module) -> str:
        return path[id(module)].removeprefix(f"{inside}.{layer}.")

    return Family(
        prefixes=(prefix, ""),
        layer=inside.removeprefix(prefix) + ".{layer}.",
        embedding=embedding.removeprefix(prefix) + ".weight",
        unembedding=(head + ".weight",),
        value=within(value),
        output=within(output),
        norm=None,
        mlp=None,
        hybrid=sum(hasattr(module, _VALUE) for module in attention.values()) < len(layers),
    )


def check_heads(reader: WeightReader, purpose: str) -> None:
    """Raises AtlasError unless the heads of a loaded layer write along what was read as their W_V.

    A positive factor for each token and head is allowed: it changes no rank. Anything else between the values and the
    output projection (a gate for each channel, a convolution, a second pattern) is seen here.
    """
    family, shape = reader.family, reader.shape
    layer = next(index for index in range(shape.layers) if reader.has_attention(index))
    rows = torch.randn(_ROWS, shape.width, generator=torch.Generator().manual_seed(0))
    loaded = FirstLayer(reader.folder, index=layer)
    states, written = loaded.heads(rows, family.value, family.output)
    value = reader.value_weights(layer).float()
    bias = getattr(loaded.layer.get_submodule(family.value), "bias", None)
    expected = torch.einsum("nd,kdv->nkv", states, value)
    if bias is not None:
        expected = expected + bias.view(len(value), -1)
    expected = expected.repeat_interleave(shape.heads // len(value), 1)
    if written.shape[-1] != expected[0].numel() or not _parallel(written.view_as(expected), expected):
        raise AtlasError(
            f"Family {reader.model_type!r} is not supported by {purpose}: it has no record, and what a head writes of "
            f"a token in layer {layer} is not W_V of what it reads; something stands between values and output."
        )


def _parallel(
    found: Float[torch.Tensor, "n heads value_width"], expected: Float[torch.Tensor, "n heads value_width"]
) -> bool:
    """Whether all vectors point the same way, those left out that a sink has taken everything from."""
    found, expected = found.double(), expected.double()
    sizes = found.norm(dim=-1) * expected.norm(dim=-1)
    cosine = (found * expected).sum(-1) / sizes
    return bool((sizes > 0).any(0).all() and (cosine[sizes > 0] > 1 - _SAME).all())
