"""A tiny random model of any text decoder that transformers lists: its own configuration with small sizes."""

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

import families

# What configurations call their sizes. Each family takes those that it has.
_SIZES = dict(
    vocab_size=199, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    hidden_size=48, n_embd=48, d_model=48, word_embed_proj_dim=48,
    num_hidden_layers=4, n_layer=4, n_layers=4, num_layers=4,
    num_attention_heads=6, n_head=6, n_heads=6, num_heads=6, num_key_value_heads=2, head_dim=8,
    intermediate_size=64, ffn_dim=64, n_inner=64, ffn_hidden_size=64, intermediate_size_mlp=64, dff=64,
    moe_intermediate_size=32, shared_expert_intermediate_size=32, shared_intermediate_size=32, expansion_ratio=2,
    moe_shared_expert_intermediate_size=32,
    num_experts=4, num_local_experts=4, n_routed_experts=4, moe_num_experts=4, num_experts_per_tok=2, moe_topk=2,
    moe_k=2, n_group=2, topk_group=1, num_shared_experts=1, n_shared_experts=1,
    q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8, rotary_dim=8,
    max_position_embeddings=128, n_positions=128, max_seq_len=128,
    mamba_n_heads=4, mamba_d_head=24, mamba_expand=2, mamba_d_state=8, mamba_n_groups=1, n_groups=1,
    linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
    attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0, attention_dropout=0.0, hidden_dropout=0.0,
)  # fmt: skip
# Where these do not go together, or leave out what is to be tested.
_OWN = {
    "codegen": dict(n_head=4),
    "nemotron_h": dict(mamba_num_heads=4, mamba_head_dim=24, ssm_state_size=8, n_groups=1),
    "gpt_neo": dict(attention_types=[[["global", "local"], 2]]),
    "falcon_h1": dict(mamba_d_ssm=96),
    "lfm2_moe": dict(layer_types=["conv", "full_attention"] * 2, num_dense_layers=1),
    "jamba": dict(attn_layer_offset=0, attn_layer_period=2),
    "bamba": dict(attn_layer_indices=[0, 2]),
    "granitemoehybrid": dict(layer_types=["mamba", "attention"] * 2),
    "kimi_linear": dict(layer_types=["linear_attention", "full_attention"] * 2, head_dim=8),
    "granitemoehybrid_dense": dict(layer_types=["mamba", "attention"] * 2, num_local_experts=0),
    "falcon_new": dict(new_decoder_architecture=True, num_kv_heads=2),
    "falcon_multi_head": dict(multi_query=False),
    "gpt_bigcode_multi_head": dict(multi_query=False),
}


def model_type(name: str) -> str:
    """The model_type of a name: the name itself, or what stands before the words of a variant."""
    ends = ("_dense", "_new", "_multi_head")
    return next((name.removesuffix(end) for end in ends if name in _OWN and name.endswith(end)), name)


def configuration(name: str):
    """The configuration of a model type, or of one of the variants in `_OWN`."""
    kind = model_type(name)
    base = AutoConfig.for_model(kind)
    names = {*base.to_dict(), *type(base).attribute_map}
    given = {key: value for key, value in _SIZES.items() if key in names}
    if "kv_lora_rank" in names:
        given["num_key_value_heads"] = 6  # latent attention has no groups
    own = _OWN.get(name, {})
    aliases = {base.attribute_map.get(key, key) for key in own}
    given = {key: value for key, value in given.items() if base.attribute_map.get(key, key) not in aliases}
    return AutoConfig.for_model(kind, **given, **own)


def build(name: str, *, seed: int = 0, dtype=torch.float32):
    """A tiny model in evaluation mode with weights drawn from `seed`."""
    return families.randomised(configuration(name), seed=seed).to(dtype)


_TEXT = dict(
    vocab_size=199, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, head_dim=8,
    intermediate_size=64, max_position_embeddings=128, pad_token_id=0,
)  # fmt: skip
_VISION = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
)
_QWEN_VISION = dict(hidden_size=16, depth=1, num_heads=2, intermediate_size=16, out_hidden_size=48)
WRAPPERS = {
    "gemma3": (_TEXT, _VISION),
    "mistral3": ({**_TEXT, "model_type": "mistral"}, {**_VISION, "model_type": "pixtral", "head_dim": 8}),
    "llava": ({**_TEXT, "model_type": "llama"}, {**_VISION, "model_type": "clip_vision_model"}),
    "qwen2_5_vl": (
        {**_TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}},
        _QWEN_VISION,
    ),
    "qwen3_vl": (_TEXT, {**_QWEN_VISION, "deepstack_visual_indexes": [0]}),
    "internvl": ({**_TEXT, "model_type": "qwen2"}, {**_VISION, "image_size": [28, 28], "patch_size": [14, 14]}),
    "smolvlm": ({**_TEXT, "model_type": "llama"}, _VISION),
}


def build_wrapper(name: str, *, tied: bool = False):
    """A tiny multimodal model, in evaluation mode with weights drawn anew; its decoder is that of a text model."""
    text, vision = WRAPPERS[name]
    text = {**text, "tie_word_embeddings": tied}
    config = AutoConfig.for_model(name, text_config=text, vision_config=vision, tie_word_embeddings=tied)
    return families.redrawn(AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval())
