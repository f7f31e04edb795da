"""Tiny random models of every supported family, for comparison with stock Hugging Face code.

Default initialisation gives nearly uniform attention, under which wrong masks go unnoticed; the weights here are
redrawn so that attention is peaky.
"""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

_SMALL = dict(
    vocab_size=199,
    hidden_size=48,
    num_hidden_layers=4,
    num_attention_heads=6,
    num_key_value_heads=2,
    intermediate_size=64,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
_MHA = {**_SMALL, "num_key_value_heads": 6}
_GPT2 = dict(
    vocab_size=199,
    n_embd=48,
    n_layer=4,
    n_head=6,
    n_positions=128,
    attn_pdrop=0.0,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
_NEOX_ROPE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}

# name -> (model_type, keyword arguments of its configuration)
FAMILIES = {
    "llama": ("llama", _SMALL),
    "gpt2": ("gpt2", _GPT2),
    "gpt2_scaled": ("gpt2", {**_GPT2, "scale_attn_by_inverse_layer_idx": True}),
    "gpt_neox": ("gpt_neox", {**_SMALL, "rope_parameters": _NEOX_ROPE}),
    "phi": ("phi", _MHA),
    "phi3": ("phi3", _SMALL),
    "qwen2": ("qwen2", _SMALL),
    "qwen3": ("qwen3", {**_SMALL, "head_dim": 8}),
    "mistral_sliding": ("mistral", {**_SMALL, "sliding_window": 8}),
    "gemma": ("gemma", {**_SMALL, "head_dim": 8}),
    "gemma2": ("gemma2", {**_SMALL, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "gemma3": ("gemma3_text", {**_SMALL, "head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}),
    "olmo2": ("olmo2", _SMALL),
    "opt": (
        "opt",
        dict(
            vocab_size=199,
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=6,
            ffn_dim=64,
            max_position_embeddings=128,
            word_embed_proj_dim=48,
            dropout=0.0,
        ),
    ),
    "gpt_oss": (
        "gpt_oss",
        {**_SMALL, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    ),
    "mixtral": ("mixtral", {**_SMALL, "num_local_experts": 4}),
    "stablelm": ("stablelm", _SMALL),
    "starcoder2": ("starcoder2", _SMALL),
    "cohere2": ("cohere2", {**_SMALL, "sliding_window": 8}),
    "granite": ("granite", {**_SMALL, "attention_multiplier": 0.35}),
}

# Further families that the attention engine is tested on (multi-head latent attention has its own value width).
ATTENTION_ONLY = {
    "olmo3": ("olmo3", {**_SMALL, "sliding_window": 8}),
    "smollm3": ("smollm3", _SMALL),
    "deepseek_v3": (
        "deepseek_v3",
        dict(
            **_MHA,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_rope_head_dim=8,
            qk_nope_head_dim=8,
            v_head_dim=4,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=2,
            topk_group=1,
            first_k_dense_replace=1,
            moe_intermediate_size=32,
            n_shared_experts=1,
        ),
    ),
}

# Families whose modelling code does not use transformers' AttentionInterface.
REFUSED = {
    "falcon": ("falcon", dict(vocab_size=199, hidden_size=48, num_hidden_layers=4, num_attention_heads=6)),
    "gptj": ("gptj", dict(vocab_size=199, n_embd=48, n_layer=4, n_head=6, rotary_dim=8)),
    "bloom": ("bloom", dict(vocab_size=199, hidden_size=48, n_layer=4, n_head=6)),
}


def configuration(name):
    model_type, options = {**FAMILIES, **ATTENTION_ONLY, **REFUSED}[name]
    return AutoConfig.for_model(model_type, **options)


def build(name, *, seed=0, dtype=torch.float32, attn_implementation="eager", **overrides):
    """A tiny model of family `name` in evaluation mode, weights drawn from `seed`."""
    config = configuration(name)
    for key, value in overrides.items():
        setattr(config, key, value)
    return randomised(config, seed=seed, attn_implementation=attn_implementation).to(dtype)


def randomised(config, *, seed=0, attn_implementation="eager", auto=AutoModelForCausalLM):
    """A model of any configuration in evaluation mode, weights drawn from `seed` so that attention is peaky."""
    torch.manual_seed(seed)
    return redrawn(auto.from_config(config, attn_implementation=attn_implementation).eval(), seed)


def redrawn(model, seed=0):
    """The model with weights drawn from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * (parameter.shape[-1] ** -0.5) * 1.5)
            else:
                parameter.add_(noise * 0.1)
    return model
