"""Sizes and parts of a decoder of any family: from its config.json, and in the live model.

How families differ is data (families.py). Reading a `Shape` needs neither torch nor transformers for the families of
the table, because rules and metrics do it on every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from atlas import json_text
from atlas.errors import AtlasError, reason
from atlas.models.families import FAMILIES, family_of
from atlas.models.family_record import KV_HEADS, Family, Mlp, Norm

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "FAMILIES",
    "Family",
    "Mlp",
    "Norm",
    "Shape",
    "after_attention",
    "attention_free",
    "attention_modules",
    "auto_config",
    "decoder_layers",
    "decoder_stack",
    "family_of",
    "input_device",
    "input_embedding",
    "logit_scaling",
    "mlp_states",
    "output_projection",
    "read_config",
    "read_shape",
    "unembedding",
]


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. Query head h reads value head `h // group`; without attention there are 0 heads."""

    layers: int
    heads: int
    kv_heads: int
    group: int
    head_width: int
    value_width: int
    width: int
    vocabulary: int
    context: int | None


# What the fields are called in config.json, by preference.
_KEYS: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "vocabulary": ("vocab_size",),
}
_INNER = ("intermediate_size", "ffn_dim", "n_inner")
_STEPWISE = ("gelu_new", "gelu_fast")
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len")
# Module names in the live models.
_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_OUTPUT = ("o_proj", "out_proj", "c_proj", "dense")


def read_config(folder: str | Path) -> dict[str, Any]:
    """The content of `folder`/config.json as a plain mapping, with a `model_type`. Raises AtlasError."""
    path = Path(folder) / "config.json"
    try:
        config = json_text.load(path.read_bytes())
    except OSError as error:
        raise AtlasError(f"{path} cannot be read ({error.strerror}); give a folder in Hugging Face layout.") from None
    except ValueError:
        raise AtlasError(f"{path} is not valid JSON; download the model again.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise AtlasError(f"{path} names no model_type; give a model in Hugging Face layout.")
    return config


def auto_config(folder: str | Path) -> PreTrainedConfig:
    """transformers' own configuration object of a local folder, without remote code or network. Raises AtlasError."""
    model_type = read_config(folder)["model_type"]
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise AtlasError(
            f"{Path(folder) / 'config.json'} (model_type {model_type!r}) cannot be used by transformers "
            f"({reason(error)}): correct it, or get it again."
        ) from None


def read_shape(source: str | Path | dict[str, Any] | PreTrainedConfig) -> Shape:
    """Sizes of a model from its folder (path) or its configuration (mapping or transformers object).

    A folder is read as plain JSON; only a family outside the table, or a file that leaves out a size whose default
    is a constant of the family, is handed to transformers. Raises AtlasError.
    """
    if not isinstance(source, str | Path):
        values = source if isinstance(source, dict) else _object_values(source.get_text_config())
        shape = _shape(values, complete=not isinstance(source, dict))
        if shape is None:
            raise AtlasError(f"The configuration of {values.get('model_type')!r} lacks the sizes of a decoder.")
        return shape
    values = read_config(source)
    shape = _shape(values) if _is_complete(values) else None
    shape = shape or _shape(_object_values(auto_config(source).get_text_config()), complete=True)
    if shape is None:
        raise AtlasError(f"{Path(source) / 'config.json'} lacks the sizes of a decoder; give a decoder language model.")
    return shape


def mlp_states(config: dict[str, Any]) -> int:
    """Numbers that the MLP of a layer holds for each token, from config.json; 0 where that is not known.

    Of a gated one gate, activation and product; of a plain one what goes into the activation and comes out of it, and
    twice as many where transformers computes that step by step.
    """
    family, width = FAMILIES.get(config["model_type"]), _first(config, _INNER)
    if family is None or family.mlp is None:
        return 0
    if family.mlp.kind == "gated":
        return 3 * (width or 0)
    width = width or 4 * (_first(config, _KEYS["width"]) or 0)
    return (4 if config.get(family.mlp.activation, "gelu_new") in _STEPWISE else 2) * width


def _is_complete(values: dict[str, Any]) -> bool:
    """True if plain JSON answers as transformers would: no default of the family's class is involved."""
    family = FAMILIES.get(values["model_type"])
    if family is None or family.sizes_default:
        return False
    if family.kv_heads_from_config and "num_key_value_heads" not in values:
        return False
    return not (family.head_width_default and values.get("head_dim") is None)


def _object_values(config: PreTrainedConfig) -> dict[str, Any]:
    """A transformers configuration as a mapping, of a wrapper its text part; by the aliases of its class too."""
    config = config.get_text_config()
    names = {name for names in _KEYS.values() for name in names}
    names |= {"head_dim", "v_head_dim", "model_type", *_CONTEXT, *KV_HEADS}
    return {name: value for name in names if (value := getattr(config, name, None)) is not None}


def attention_free(config: PreTrainedConfig) -> bool:
    """Whether a configuration names no number of attention heads, by none of its names (Mamba, RWKV)."""
    config = config.get_text_config()
    try:
        return all(getattr(config, name, None) is None for name in _KEYS["heads"])
    except RuntimeError:  # transformers refuses to name one number where layers differ in it
        return False


def _first(values: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _shape(values: dict[str, Any], *, complete: bool = False) -> Shape | None:
    # complete: where no number of heads is named, there are none.
    sizes = {field: _first(values, names) for field, names in _KEYS.items()}
    if (
        complete
        and sizes["heads"] is None
        and all(isinstance(sizes[field], int) for field in ("layers", "width", "vocabulary"))
    ):
        return Shape(sizes["layers"], 0, 0, 1, 0, 0, sizes["width"], sizes["vocabulary"], _first(values, _CONTEXT))
    if any(not isinstance(size, int) or size <= 0 for size in sizes.values()):
        return None
    family, heads = FAMILIES.get(values.get("model_type", "")), sizes["heads"]
    kv_heads = (family or Family()).kv_heads(values) or heads
    # Families without the key ignore it: multi-head families compute width // heads whatever stands in the file.
    head_width = values.get("head_dim") if family is None or family.kv_heads_from_config else None
    head_width = head_width or sizes["width"] // heads
    if heads % kv_heads:
        raise AtlasError(f"config.json: {heads} attention heads cannot share {kv_heads} key/value heads evenly.")
    return Shape(
        **sizes,
        kv_heads=kv_heads,
        group=heads // kv_heads,
        head_width=head_width,
        value_width=values.get("v_head_dim") or head_width,
        context=_first(values, _CONTEXT),
    )


def _named(module: nn.Module, names: tuple[str, ...], what: str) -> nn.Module:
    for name in names:
        if (found := getattr(module, name, None)) is not None:
            return found
    raise AtlasError(f"{type(module).__name__} has no {what} under the names {', '.join(names)}; family not supported.")


def decoder_stack(model: PreTrainedModel, inner: bool = False) -> PreTrainedModel:
    """The part of `model` that turns token ids into last hidden states, after the final norm, without the unembedding.

    transformers' `base_model`, or, where that is the model itself, what its class calls `model`. inner: of nested ones
    the innermost, which holds the layers and which the model's own forward is sure to call. Raises AtlasError.
    """
    parts = (model.get_decoder(), model.base_model) if inner else (model.base_model, model.get_decoder())
    for found in (*parts, getattr(model, "model", None)):
        if found is not None and found is not model and found is not model.get_output_embeddings():
            return cast("PreTrainedModel", found)
    raise AtlasError(
        f"{type(model).__name__} has no decoder apart from its unembedding; choose a model of another family."
    )


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder's layers in order: its outermost ModuleList that is as long as the config says the decoder is deep.

    No name is asked for, so this serves families outside the table. Raises AtlasError where there is no such list.
    """
    from torch import nn

    depth = model.config.get_text_config().num_hidden_layers
    for part in (model.get_decoder(), model):  # some classes call their unembedding `decoder`
        for module in part.modules():
            if isinstance(module, nn.ModuleList) and len(module) == depth:
                return module
    raise AtlasError(
        f"No list of {depth} decoder layers in {type(model).__name__}; choose a decoder-only model of another family."
    )


def input_embedding(model: PreTrainedModel) -> nn.Embedding:
    """The module that turns token ids into the first states."""
    return cast("nn.Embedding", model.get_input_embeddings())


def input_device(model: PreTrainedModel) -> torch.device:
    """Where token ids go. With a device_map other parts may lie elsewhere."""
    return input_embedding(model).weight.device


def attention_modules(model: PreTrainedModel) -> dict[int, nn.Module]:
    """Layer index -> attention module. Hybrid models leave gaps: layers without attention are absent.

    Raises AtlasError where no layer has one under a known name.
    """
    found = {}
    for index, layer in enumerate(decoder_layers(model)):
        module = next((m for name in _ATTENTION if (m := getattr(layer, name, None)) is not None), None)
        if module is not None:
            found[index] = module
    if not found:
        raise AtlasError(f"{type(model).__name__} has no attention modules; family not supported.")
    return found


def output_projection(attention_module: nn.Module) -> nn.Module:
    """The module that maps the concatenated head outputs to the residual width. Raises AtlasError."""
    return _named(attention_module, _OUTPUT, "output projection")


def after_attention(model: PreTrainedModel, index: int) -> list[nn.Module]:
    """The modules of layer `index` behind its attention that map each token by itself, (B, T, .) to (B, T, d).

    The output projection and the MLP; none where the MLP is a mixture of experts or no module of its own, where the
    layer has no attention, or where the family is not in the table.
    """
    family = FAMILIES.get(model.config.get_text_config().model_type)
    up = "" if family is None or family.mlp is None else family.mlp.up
    name, layer = up.rpartition(".")[0], decoder_layers(model)[index]
    attention = attention_modules(model).get(index)
    # A family's upper layers may have experts where its first has a dense MLP.
    if not name or attention is None or up not in dict(layer.named_modules()):
        return []
    return [output_projection(attention), layer.get_submodule(name)]


def unembedding(model: PreTrainedModel) -> nn.Linear:
    """The module whose `weight` (vocabulary, width) turns final states into logits. Raises AtlasError."""
    module = model.get_output_embeddings()
    if module is None:
        raise AtlasError(f"{type(model).__name__} has no unembedding; give a decoder language model.")
    return module


def logit_scaling(config: PreTrainedConfig) -> tuple[float, float | None]:
    """(factor, cap): logits = unembedding(state) * factor, then cap * tanh(logits / cap) where there is a cap.

    The config keys are those of Cohere (`logit_scale`), Granite (`logits_scaling`, a divisor) and Gemma 2
    (`final_logit_softcapping`).
    """
    config = config.get_text_config()
    factor = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return factor, getattr(config, "final_logit_softcapping", None)
