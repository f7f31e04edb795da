"""The one place that knows how decoder families differ: widths, tensor names, layouts, module names.

Everything is data (`Family` records); the few functions below read it. Reading a `Shape` needs neither torch nor
transformers for the families of the table, because rules and metrics do it on every start.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from atlas.errors import AtlasError


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. Query head h reads value head `h // group`."""

    layers: int
    heads: int
    kv_heads: int
    group: int
    head_width: int
    value_width: int
    width: int
    vocabulary: int
    context: int | None


@dataclass(frozen=True)
class Mlp:
    """The dense MLP of a layer; names are relative to the layer.

    kind "gated": down(act(gate(x)) * up(x)); "plain": down(act(up(x))). `gate` equal to `up` means one fused matrix
    whose first half is the gate. Biases are used where the checkpoint has them. `activation` is the config key.
    """

    kind: str = "gated"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    activation: str = "hidden_act"


@dataclass(frozen=True)
class Norm:
    """A norm by its name relative to the layer: kind "rms" or "layernorm"; `gain_offset` is added to its gain."""

    name: str
    kind: str = "rms"
    eps: str | None = "rms_norm_eps"  # config key; None: the PyTorch default 1e-5
    gain_offset: float = 0.0


@dataclass(frozen=True)
class Family:
    """Where the checkpoints of one `model_type` keep what the weight analyses read (MAPS).

    `prefixes`: what may stand before the decoder's names (hub checkpoints of base models lack it). `value_layout`:
    "linear" rows (kv_heads * value_width, width); "fused_rows" the last such rows of [q; k; v]; "interleaved" rows
    (heads, 3, head_width); "conv1d" columns [q, k, v] of a (in, out) matrix. `transposed`: output projection and MLP
    are stored (in, out). `parallel`: attention and MLP read the same residual: True, False or the config key.
    `conditions`: config key -> (value that the record assumes, what it means).
    """

    prefixes: tuple[str, ...] = ("model.", "")
    layer: str = "layers.{layer}."
    embedding: str = "embed_tokens.weight"
    unembedding: tuple[str, ...] = ("lm_head.weight",)
    final_norm: str = "norm"
    value: str = "self_attn.v_proj"
    value_layout: str = "linear"
    output: str = "self_attn.o_proj"
    transposed: bool = False
    norm: Norm | None = Norm("post_attention_layernorm")  # feeds layer 0's MLP
    mlp: Mlp | None = Mlp()  # None: a mixture of experts
    mlp_out_norm: Norm | None = None  # applied to the MLP's output before it is added to the residual
    parallel: bool | str = False
    kv_heads_from_config: bool = True  # False: multi-head attention whatever the config says
    head_width_default: bool = False  # True: an absent head_dim is a constant of the family, not width / heads
    conditions: tuple[tuple[str, object, str], ...] = ()


_LLAMA = Family()
_MIXTURE = replace(_LLAMA, mlp=None)
_LAYERNORM = Norm("post_attention_layernorm", "layernorm", "layer_norm_eps")
_GEMMA_ACT = Mlp(activation="hidden_activation")
_GEMMA2 = replace(
    _LLAMA,
    norm=Norm("pre_feedforward_layernorm", gain_offset=1.0),
    mlp=_GEMMA_ACT,
    mlp_out_norm=Norm("post_feedforward_layernorm", gain_offset=1.0),
    head_width_default=True,
)

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, head_width_default=True),
    "smollm3": _LLAMA,
    "granite": _LLAMA,
    "mixtral": _MIXTURE,
    "gpt_oss": replace(_MIXTURE, head_width_default=True),
    "gemma": replace(_LLAMA, norm=Norm("post_attention_layernorm", gain_offset=1.0), head_width_default=True),
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    # The MLP reads the bare residual; its output passes a norm, as in Gemma 2.
    "olmo2": replace(_LLAMA, norm=None, mlp_out_norm=Norm("post_feedforward_layernorm")),
    "phi3": replace(
        _LLAMA,
        value="self_attn.qkv_proj",
        value_layout="fused_rows",
        mlp=Mlp(gate="mlp.gate_up_proj", up="mlp.gate_up_proj"),
    ),
    "phi": replace(
        _LLAMA,
        final_norm="final_layernorm",
        output="self_attn.dense",
        norm=Norm("input_layernorm", "layernorm", "layer_norm_eps"),
        mlp=Mlp("plain", None, "mlp.fc1", "mlp.fc2"),
        parallel=True,
    ),
    "stablelm": replace(
        _LLAMA,
        norm=_LAYERNORM,
        parallel="use_parallel_residual",
        conditions=(("use_parallel_residual", False, "parallel attention and MLP"),),
    ),
    "starcoder2": replace(
        _LLAMA,
        norm=Norm("post_attention_layernorm", "layernorm", "norm_epsilon"),
        mlp=Mlp("plain", None, "mlp.c_fc", "mlp.c_proj"),
    ),
    "cohere2": replace(_LLAMA, norm=Norm("input_layernorm", "layernorm", "layer_norm_eps"), parallel=True),
    "gpt2": Family(
        prefixes=("transformer.", ""),
        layer="h.{layer}.",
        embedding="wte.weight",
        final_norm="ln_f",
        value="attn.c_attn",
        value_layout="conv1d",
        output="attn.c_proj",
        transposed=True,
        norm=Norm("ln_2", "layernorm", "layer_norm_epsilon"),
        mlp=Mlp("plain", None, "mlp.c_fc", "mlp.c_proj", "activation_function"),
        kv_heads_from_config=False,
    ),
    "gpt_neox": Family(
        prefixes=("gpt_neox.", ""),
        embedding="embed_in.weight",
        unembedding=("embed_out.weight", "lm_head.weight"),
        final_norm="final_layer_norm",
        value="attention.query_key_value",
        value_layout="interleaved",
        output="attention.dense",
        norm=_LAYERNORM,
        mlp=Mlp("plain", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        parallel="use_parallel_residual",
        kv_heads_from_config=False,
    ),
    "opt": Family(
        prefixes=("model.decoder.", "decoder.", ""),
        final_norm="final_layer_norm",
        output="self_attn.out_proj",
        norm=Norm("final_layer_norm", "layernorm", None),
        mlp=Mlp("plain", None, "fc1", "fc2", "activation_function"),
        kv_heads_from_config=False,
        conditions=(("do_layer_norm_before", True, "norms after the residual sum"),),
    ),
}

# What the fields are called in config.json, by preference.
_KEYS = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head"),
    "width": ("hidden_size", "n_embd"),
    "vocabulary": ("vocab_size",),
}
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")

# Module names in the live models.
_LAYER_LISTS = ("layers", "h", "blocks")
_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_OUTPUT = ("o_proj", "out_proj", "c_proj", "dense")
_FINAL_NORM = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


def family_of(model_type: str, *, purpose: str = "this analysis") -> Family:
    """The record of `model_type`; AtlasError naming `purpose` and the supported families otherwise."""
    try:
        return FAMILIES[model_type]
    except KeyError:
        supported = ", ".join(sorted(FAMILIES))
        raise AtlasError(f"Family {model_type!r} is not supported by {purpose}; supported: {supported}.") from None


def read_config(folder: str | Path) -> dict:
    """The content of `folder`/config.json as a plain mapping."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AtlasError(f"{path} cannot be read ({error.strerror}); give a folder in Hugging Face layout.") from None
    except ValueError:
        raise AtlasError(f"{path} is not valid JSON; download the model again.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise AtlasError(f"{path} names no model_type; give a model in Hugging Face layout.")
    return config


def auto_config(folder: str | Path):
    """transformers' own configuration object of a local folder, without remote code or network."""
    model_type = read_config(folder)["model_type"]
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AtlasError(
            f"{Path(folder) / 'config.json'} (model_type {model_type!r}) cannot be used by transformers: {reason}"
        ) from None


def read_shape(source) -> Shape:
    """Sizes of a model from its folder (path) or its configuration (mapping or transformers object).

    A folder is read as plain JSON; only a family outside the table, or a file that leaves out a size whose default
    is a constant of the family, is handed to transformers.
    """
    if not isinstance(source, str | Path):
        values = source if isinstance(source, dict) else _object_values(source)
        shape = _shape(values)
        if shape is None:
            raise AtlasError(f"The configuration of {values.get('model_type')!r} lacks the sizes of a decoder.")
        return shape
    values = read_config(source)
    shape = _shape(values) if _is_complete(values) else None
    if shape is None:
        shape = _shape(_object_values(auto_config(source)))
    if shape is None:
        raise AtlasError(f"{Path(source) / 'config.json'} lacks the sizes of a decoder; give a decoder language model.")
    return shape


def _is_complete(values: dict) -> bool:
    """True if plain JSON answers as transformers would: no default of the family's class is involved."""
    family = FAMILIES.get(values["model_type"])
    if family is None or (family.kv_heads_from_config and "num_key_value_heads" not in values):
        return False
    return not (family.head_width_default and values.get("head_dim") is None)


def _object_values(config) -> dict:
    """A transformers configuration as a mapping; attribute access honours the aliases of its class."""
    names = {name for names in _KEYS.values() for name in names}
    names |= {"num_key_value_heads", "head_dim", "v_head_dim", "model_type", *_CONTEXT}
    return {name: value for name in names if (value := getattr(config, name, None)) is not None}


def _first(values: dict, names: tuple[str, ...]):
    return next((values[name] for name in names if values.get(name) is not None), None)


def _shape(values: dict) -> Shape | None:
    sizes = {field: _first(values, names) for field, names in _KEYS.items()}
    if any(not isinstance(size, int) or size <= 0 for size in sizes.values()):
        return None
    family, heads = FAMILIES.get(values.get("model_type")), sizes["heads"]
    kv_heads = values.get("num_key_value_heads") if family is None or family.kv_heads_from_config else None
    kv_heads = kv_heads or heads
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


def is_parallel(config) -> bool:
    """True if attention and MLP read the same residual and are added together (NeoX, Phi, Cohere)."""
    family = family_of(config.model_type, purpose="the attention analyses")
    return bool(getattr(config, family.parallel)) if isinstance(family.parallel, str) else family.parallel


def attention_implementation(config) -> str:
    """ "sdpa", or "eager" for families whose attention PyTorch's fused operator does not give (Gemma 2, gpt-oss).

    Raises AtlasError for families whose attention cannot be observed or edited: those without transformers'
    AttentionInterface (GPT-J, Bloom, Falcon, MPT, ...), and configurations that are no decoder language model.
    """
    from transformers import AutoModelForCausalLM

    try:
        model_class = AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        raise AtlasError(f"Family {config.model_type!r} is not a decoder language model of transformers.") from None
    if not model_class._can_set_attn_implementation():
        raise AtlasError(
            f"Family {config.model_type!r} is not supported by the attention analyses, because its code does not use "
            f"transformers' attention interface; supported are for example {', '.join(sorted(FAMILIES))}."
        )
    return "sdpa" if model_class._supports_sdpa else "eager"


def _named(module, names: tuple[str, ...], what: str):
    for name in names:
        if (found := getattr(module, name, None)) is not None:
            return found
    raise AtlasError(f"{type(module).__name__} has no {what} under the names {', '.join(names)}; family not supported.")


def _decoder(model):
    return model.get_decoder() if hasattr(model, "get_decoder") else model


def decoder_layers(model):
    """The decoder's layers in order (an nn.ModuleList)."""
    return _named(_decoder(model), _LAYER_LISTS, "list of layers")


def attention_modules(model) -> dict:
    """Layer index -> attention module. Hybrid models leave gaps: layers without attention are absent."""
    found = {}
    for index, layer in enumerate(decoder_layers(model)):
        module = next((m for name in _ATTENTION if (m := getattr(layer, name, None)) is not None), None)
        if module is not None:
            found[index] = module
    if not found:
        raise AtlasError(f"{type(model).__name__} has no attention modules; family not supported.")
    return found


def output_projection(attention_module):
    """The module that maps the concatenated head outputs to the residual width."""
    return _named(attention_module, _OUTPUT, "output projection")


def after_attention(model, index: int) -> list:
    """The modules of layer `index` behind its attention that map each token by itself, (B, T, .) to (B, T, d).

    The output projection and the MLP; none where the MLP is a mixture of experts or no module of its own, or where the
    family is not in the table.
    """
    family = FAMILIES.get(model.config.get_text_config().model_type)
    name = "" if family is None or family.mlp is None else family.mlp.up.rpartition(".")[0]
    if not name:
        return []
    return [output_projection(attention_modules(model)[index]), decoder_layers(model)[index].get_submodule(name)]


def final_norm(model):
    """The norm between the last layer and the unembedding."""
    return _named(_decoder(model), _FINAL_NORM, "final norm")


def unembedding(model):
    """The module whose `weight` (vocabulary, width) turns final states into logits."""
    module = model.get_output_embeddings()
    if module is None:
        raise AtlasError(f"{type(model).__name__} has no unembedding; give a decoder language model.")
    return module


def logit_scaling(config) -> tuple[float, float | None]:
    """(factor, cap): logits = unembedding(state) * factor, then cap * tanh(logits / cap) where there is a cap.

    The config keys are those of Cohere (`logit_scale`), Granite (`logits_scaling`, a divisor) and Gemma 2
    (`final_logit_softcapping`).
    """
    config = config.get_text_config()
    factor = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return factor, getattr(config, "final_logit_softcapping", None)
