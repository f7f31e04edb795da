"""How decoder families differ, as data: tensor names, layouts, norms and MLPs.

A new family is one entry of `FAMILIES`. Nothing here needs torch or transformers.
"""

from dataclasses import dataclass, replace

from atlas.errors import AtlasError


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
    are stored (in, out). `norm`: the one whose output layer 0's MLP reads.
    `conditions`: (config key, value that the record assumes, what another value means).
    """

    prefixes: tuple[str, ...] = ("model.", "")
    layer: str = "layers.{layer}."
    embedding: str = "embed_tokens.weight"
    unembedding: tuple[str, ...] = ("lm_head.weight",)
    value: str = "self_attn.v_proj"
    value_layout: str = "linear"
    output: str = "self_attn.o_proj"
    transposed: bool = False
    norm: Norm | None = Norm("post_attention_layernorm")
    mlp: Mlp | None = Mlp()  # None: a mixture of experts
    mlp_out_norm: Norm | None = None  # applied to the MLP's output before it is added to the residual
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
        output="self_attn.dense",
        norm=Norm("input_layernorm", "layernorm", "layer_norm_eps"),
        mlp=Mlp("plain", None, "mlp.fc1", "mlp.fc2"),
    ),
    "stablelm": replace(
        _LLAMA,
        norm=_LAYERNORM,
        conditions=(("use_parallel_residual", False, "parallel attention and MLP"),),
    ),
    "starcoder2": replace(
        _LLAMA,
        norm=Norm("post_attention_layernorm", "layernorm", "norm_epsilon"),
        mlp=Mlp("plain", None, "mlp.c_fc", "mlp.c_proj"),
    ),
    "cohere2": replace(_LLAMA, norm=Norm("input_layernorm", "layernorm", "layer_norm_eps")),
    "gpt2": Family(
        prefixes=("transformer.", ""),
        layer="h.{layer}.",
        embedding="wte.weight",
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
        value="attention.query_key_value",
        value_layout="interleaved",
        output="attention.dense",
        norm=_LAYERNORM,
        mlp=Mlp("plain", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        kv_heads_from_config=False,
    ),
    "opt": Family(
        prefixes=("model.decoder.", "decoder."),
        output="self_attn.out_proj",
        norm=Norm("final_layer_norm", "layernorm", None),
        mlp=Mlp("plain", None, "fc1", "fc2", "activation_function"),
        kv_heads_from_config=False,
        conditions=(("do_layer_norm_before", True, "norms after the residual sum"),),
    ),
}


def family_of(model_type: str, *, purpose: str = "this analysis") -> Family:
    """The record of `model_type`; AtlasError naming `purpose` and the supported families otherwise."""
    try:
        return FAMILIES[model_type]
    except KeyError:
        supported = ", ".join(sorted(FAMILIES))
        raise AtlasError(f"Family {model_type!r} is not supported by {purpose}; supported: {supported}.") from None
