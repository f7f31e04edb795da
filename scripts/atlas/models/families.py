"""How decoder families differ, as data: tensor names, layouts, norms and MLPs.

A new family is one entry of `FAMILIES`. Nothing here needs torch or transformers. A family without an entry is read by
the names of its modules where these are the common ones (first_layer.py).
"""

from dataclasses import replace

from atlas.errors import AtlasError
from atlas.models.family_record import Family, Mlp, Norm
from atlas.models.unreadable import UNREADABLE

# Families without a causal language model of their own: parts of multimodal wrappers.
WRAPPED = ("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text")

_LLAMA = Family()
# The first layer's MLP has experts in every model of the family, so that its dense form is no part of the record.
_MIXTURE = replace(_LLAMA, mlp=None)
_HEAD_WIDTH = replace(_LLAMA, head_width_default=True)
_LAYERNORM = Norm("post_attention_layernorm", "layernorm", "layer_norm_eps")
_GEMMA_ACT = Mlp(activation="hidden_activation")
_GEMMA2 = replace(
    _LLAMA,
    norm=Norm("pre_feedforward_layernorm", gain_offset=1.0),
    mlp=_GEMMA_ACT,
    mlp_out_norm=Norm("post_feedforward_layernorm", gain_offset=1.0),
    head_width_default=True,
)
# The MLP reads the bare residual; its output passes a norm, as in Gemma 2.
_OLMO2 = replace(_LLAMA, norm=None, mlp_out_norm=Norm("post_feedforward_layernorm"))
_COHERE = replace(_LLAMA, norm=Norm("input_layernorm", "layernorm", "layer_norm_eps"))
_FUSED_MLP = Mlp(gate="mlp.gate_up_proj", up="mlp.gate_up_proj")
# Multi-head latent attention (DeepSeek): values are read from a latent that passes an RMS norm. Its gain belongs to
# the map; its scale is a positive number for each token, which changes no rank.
_LATENT = replace(
    _LLAMA,
    value="self_attn.kv_b_proj",
    value_layout="latent",
    latent=("self_attn.kv_a_proj_with_mqa", "self_attn.kv_a_layernorm"),
    sizes_default=True,
)
_NEOX = Family(
    prefixes=("gpt_neox.", ""),
    embedding="embed_in.weight",
    unembedding=("embed_out.weight", "lm_head.weight"),
    value="attention.query_key_value",
    value_layout="grouped",
    output="attention.dense",
    norm=_LAYERNORM,
    mlp=Mlp("plain", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    kv_heads_from_config=False,
)
_GPT2 = Family(
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
)
_GPTJ = replace(
    _GPT2,
    value="attn.v_proj",
    value_layout="linear",
    output="attn.out_proj",
    transposed=False,
    norm=Norm("ln_1", "layernorm", "layer_norm_epsilon"),
    mlp=Mlp("plain", None, "mlp.fc_in", "mlp.fc_out", "activation_function"),
)
_OPT = Family(
    prefixes=("model.decoder.", "decoder."),
    output="self_attn.out_proj",
    norm=Norm("final_layer_norm", "layernorm", 1e-5),
    mlp=Mlp("plain", None, "fc1", "fc2", "activation_function"),
    kv_heads_from_config=False,
    conditions=(("do_layer_norm_before", True, "norms after the residual sum"),),
)
_BLOOM = replace(
    _NEOX,
    prefixes=("transformer.", ""),
    layer="h.{layer}.",
    embedding="word_embeddings.weight",
    unembedding=("lm_head.weight",),
    value="self_attention.query_key_value",
    output="self_attention.dense",
    norm=Norm("post_attention_layernorm", "layernorm", "layer_norm_epsilon"),
    mlp=Mlp("plain", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "=gelu_pytorch_tanh"),
    embedding_norm=Norm("word_embeddings_layernorm", "layernorm", "layer_norm_epsilon"),
    conditions=(("apply_residual_connection_post_layernorm", False, "a residual behind the norm"),),
)
_JAMBA = replace(
    _LLAMA,
    norm=Norm("pre_ff_layernorm"),
    mlp=Mlp(gate="feed_forward.gate_proj", up="feed_forward.up_proj", down="feed_forward.down_proj"),
    hybrid=True,
)
_LFM2 = replace(
    _LLAMA,
    output="self_attn.out_proj",
    norm=Norm("ffn_norm", eps="norm_eps"),
    mlp=Mlp(gate="feed_forward.w1", up="feed_forward.w3", down="feed_forward.w2", activation="=silu"),
    hybrid=True,
)
_GRANITE_SHARED = replace(
    _LLAMA,
    mlp=Mlp(gate="shared_mlp.input_linear", up="shared_mlp.input_linear", down="shared_mlp.output_linear"),
)

FAMILIES: dict[str, Family] = {
    # Llama's names and MLP; what else differs (positions, windows, norms of queries and keys, factors) maps nothing.
    **dict.fromkeys(
        "llama mistral qwen2 smollm3 granite ministral ministral3 internlm3 iquestcoder hunyuan_v1_dense exaone_moe "
        "ernie4_5_moe granite_swa".split(),
        _LLAMA,
    ),
    # Decoders that are part of a wrapper alone; others' records serve in wrappers too.
    **dict.fromkeys(WRAPPED, replace(_LLAMA, sizes_default=True)),
    **dict.fromkeys("qwen3 seed_oss hy_v3 cwm helium ernie4_5 glm4_moe flint".split(), _HEAD_WIDTH),
    # Mixtures: experts in the first layer.
    **dict.fromkeys(
        "mixtral qwen3_moe qwen2_moe olmoe granitemoe phimoe hunyuan_v1_moe aria_text flex_olmo cohere2_moe "
        "dots1".split(),
        _MIXTURE,
    ),
    **dict.fromkeys(
        "gpt_oss llama4_text minimax_m2 mellum solar_open kolibri1".split(), replace(_MIXTURE, head_width_default=True)
    ),
    "granitemoeshared": _GRANITE_SHARED,
    "granitemoe_swa": _GRANITE_SHARED,
    "gemma": replace(_LLAMA, norm=Norm("post_attention_layernorm", gain_offset=1.0), head_width_default=True),
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "vaultgemma": replace(_GEMMA2, mlp_out_norm=None),
    "olmo": replace(
        _LLAMA,
        norm=Norm("", "layernorm", 1e-5),
        conditions=(("clip_qkv", None, "values that are cut off"),),
    ),
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "exaone4": _OLMO2,
    "phi3": replace(
        _LLAMA,
        value="self_attn.qkv_proj",
        value_layout="fused_rows",
        mlp=_FUSED_MLP,
    ),
    "phi": replace(
        _LLAMA,
        output="self_attn.dense",
        norm=Norm("input_layernorm", "layernorm", "layer_norm_eps"),
        mlp=Mlp("plain", None, "mlp.fc1", "mlp.fc2"),
    ),
    "glm": replace(_LLAMA, mlp=_FUSED_MLP, head_width_default=True),
    "glm4": replace(_LLAMA, mlp=_FUSED_MLP, mlp_out_norm=Norm("post_mlp_layernorm"), head_width_default=True),
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
    "cohere": _COHERE,
    "cohere2": _COHERE,
    "arcee": replace(_LLAMA, mlp=Mlp("plain", None)),
    "jais2": replace(_LLAMA, norm=_LAYERNORM, mlp=Mlp("plain", None)),
    "nemotron": replace(
        _LLAMA,
        norm=Norm("post_attention_layernorm", "layernorm", "norm_eps", gain_offset=1.0),
        mlp=Mlp("plain", None),
    ),
    "nanochat": replace(_LLAMA, norm=Norm(""), mlp=Mlp("plain", None, "mlp.fc1", "mlp.fc2")),
    # An activation with weights of its own (xIELU).
    "apertus": replace(_LLAMA, norm=Norm("feedforward_layernorm"), mlp=None),
    "doge": replace(_LLAMA, conditions=(("is_moe", False, "experts beside a dense MLP"),)),
    "bitnet": replace(_LLAMA, inner_norm="self_attn.attn_sub_norm", mlp=None),
    "hyperclovax": replace(_LLAMA, mlp=None),
    **dict.fromkeys(
        "deepseek_v2 deepseek_v3 deepseek_v32 minicpm3 youtu glm4_moe_lite glm_moe_dsa axk1".split(), _LATENT
    ),
    "kimi_linear": replace(_LATENT, mlp=None, hybrid=True),  # its dense MLP is stored under the experts' name
    "jamba": _JAMBA,
    "bamba": _JAMBA,
    "falcon_h1": replace(_JAMBA, mlp=None),
    "granitemoehybrid": replace(_GRANITE_SHARED, hybrid=True),
    "lfm2": _LFM2,
    "lfm2_moe": _LFM2,
    "minimax": replace(_MIXTURE, hybrid=True),
    "nemotron_h": replace(
        _LLAMA,
        prefixes=("model.", "backbone.", ""),
        embedding="embeddings.weight",
        value="mixer.v_proj",
        output="mixer.o_proj",
        norm=None,
        mlp=None,  # a layer is attention, a mixer of another kind or an MLP, and the first is no MLP
        hybrid=True,
    ),
    "recurrent_gemma": replace(
        _LLAMA,
        value="temporal_block.v_proj",
        output="temporal_block.o_proj",
        norm=Norm("channel_pre_norm", gain_offset=1.0),
        mlp=Mlp("gated", "mlp_block.gate_proj", "mlp_block.up_proj", "mlp_block.down_proj", "hidden_activation"),
        hybrid=True,
        sizes_default=True,
    ),
    "olmo_hybrid": replace(_OLMO2, mlp=None, hybrid=True),
    "gpt2": _GPT2,
    "openai-gpt": replace(
        _GPT2,
        embedding="tokens_embed.weight",
        norm=Norm("ln_1", "layernorm", "layer_norm_epsilon"),
        mlp=Mlp("plain", None, "mlp.c_fc", "mlp.c_proj", "=gelu_new"),
        conditions=(("afn", "gelu", "another activation"),),
    ),
    "gpt_bigcode": replace(
        _GPT2, value_layout="grouped", transposed=False, multi_query=True, sizes_default=True, fixed_rows=True
    ),
    "gpt_neo": replace(
        _GPT2, value="attn.attention.v_proj", value_layout="linear", output="attn.attention.out_proj", transposed=False
    ),
    "gptj": _GPTJ,
    "codegen": replace(_GPTJ, value="attn.qkv_proj", value_layout="split"),
    "mpt": replace(
        _GPT2,
        layer="blocks.{layer}.",
        value="attn.Wqkv",
        value_layout="fused_rows",
        output="attn.out_proj",
        transposed=False,
        norm=Norm("norm_2", "layernorm", "layer_norm_epsilon"),
        mlp=Mlp("plain", None, "ffn.up_proj", "ffn.down_proj", "=gelu"),
        conditions=(("attn_config.clip_qkv", None, "values that are cut off"),),
    ),
    "gpt_neox": _NEOX,
    "gpt_neox_japanese": replace(
        _NEOX,
        prefixes=("gpt_neox_japanese.", ""),
        mlp=Mlp("plain", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    ),
    "ctrl": replace(
        _GPT2,
        embedding="w.weight",
        value="multi_head_attention.Wv",
        value_layout="linear",
        output="multi_head_attention.dense",
        transposed=False,
        norm=Norm("layernorm2", "layernorm", 1e-6),
        mlp=Mlp("plain", None, "ffn.0", "ffn.2", "=relu"),
    ),
    "persimmon": replace(
        _NEOX,
        prefixes=("model.", ""),
        embedding="embed_tokens.weight",
        unembedding=("lm_head.weight",),
        value="self_attn.query_key_value",
        output="self_attn.dense",
    ),
    "bloom": _BLOOM,
    "falcon": replace(
        _BLOOM,
        norm=None,
        mlp=None,  # the norm that the MLP reads is one of four, by three keys of the configuration
        embedding_norm=None,
        multi_query=True,
        sizes_default=True,
        conditions=(),
    ),
    "opt": _OPT,
    "xglm": replace(_OPT, prefixes=("model.", ""), conditions=()),
    "biogpt": replace(
        _OPT,
        prefixes=("biogpt.", ""),
        unembedding=("output_projection.weight",),
        mlp=Mlp("plain", None, "fc1", "fc2"),
        conditions=(),
    ),
}


def family_of(model_type: str, *, purpose: str = "this analysis") -> Family:
    """The record of `model_type`; AtlasError naming `purpose` and the supported families otherwise."""
    if model_type in UNREADABLE:
        raise AtlasError(f"Family {model_type!r} is not supported by {purpose}: {UNREADABLE[model_type]}.")
    try:
        return FAMILIES[model_type]
    except KeyError:
        supported = ", ".join(sorted(FAMILIES))
        raise AtlasError(f"Family {model_type!r} is not supported by {purpose}; supported: {supported}.") from None
