"""What a record of a decoder family says: tensor names, layouts, norms and MLP. The records are in families.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Config keys that say how many heads of keys and values there are.
KV_HEADS = ("num_key_value_heads", "multi_query", "new_decoder_architecture", "num_kv_heads")

# What wrappers put before a decoder's names; {} is what stands there without a wrapper.
_WRAPPED = ("language_model.{}", "model.language_model.", "language_model.", "model.text_model.")


@dataclass(frozen=True)
class Mlp:
    """The dense MLP of a layer; names are relative to the layer.

    kind "gated": down(act(gate(x)) * up(x)); "plain": down(act(up(x))). `gate` equal to `up` means one fused matrix
    whose first half is the gate. Biases are used where the checkpoint has them. `activation` is the config key, or with
    a leading "=" the name of an activation that no key of the family changes.
    """

    kind: str = "gated"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"
    activation: str = "hidden_act"


@dataclass(frozen=True)
class Norm:
    """A norm by its name relative to the layer: kind "rms" or "layernorm"; `gain_offset` is added to its gain.

    An empty name is a norm without parameters.
    """

    name: str
    kind: str = "rms"
    eps: str | float = "rms_norm_eps"  # config key, or the number itself
    gain_offset: float = 0.0


@dataclass(frozen=True)
class Family:
    """Where the checkpoints of one `model_type` keep what the weight analyses read (MAPS).

    `prefixes`: what may stand before the decoder's names (hub checkpoints of base models lack it). `value_layout`:
    "linear" rows (kv_heads * value_width, width); "fused_rows" the last such rows of [q; k; v]; "grouped" rows
    (kv_heads, heads / kv_heads + 2, head_width), the last of each group; "conv1d" columns [q, k, v] of a (in, out)
    matrix; "split" rows (4, [q; v; k], heads / 4, head_width); "latent" rows (heads, key part + value_width) that read
    the normed latent `latent`. `transposed`: output projection and MLP are stored (in, out). `inner_norm`: a norm
    between the heads' outputs and the output projection. `fixed_rows`: the decoder's result has the shape of the ids
    that it was given, so that no layer can hand on more rows. `norm`: the one whose output layer 0's MLP reads.
    `mlp`: how layer 0's dense MLP is stored; None: it is run as transformers builds it (first_layer.py). Where layer 0
    has experts, whatever stands here is not used. `embedding_norm`: by its full name, the norm that is part of the
    embedding. `conditions`: (config key, value that the record assumes, what another value means).
    """

    prefixes: tuple[str, ...] = ("model.", "")
    layer: str = "layers.{layer}."
    embedding: str = "embed_tokens.weight"
    unembedding: tuple[str, ...] = ("lm_head.weight",)
    value: str = "self_attn.v_proj"
    value_layout: str = "linear"
    latent: tuple[str, str] = ("", "")  # the projection onto the latent and its norm
    output: str = "self_attn.o_proj"
    transposed: bool = False
    inner_norm: str = ""
    fixed_rows: bool = False
    norm: Norm | None = Norm("post_attention_layernorm")
    mlp: Mlp | None = Mlp()
    mlp_out_norm: Norm | None = None  # applied to the MLP's output before it is added to the residual
    embedding_norm: Norm | None = None
    hybrid: bool = False  # True: layers without the tensor `value` have no attention, and no row
    kv_heads_from_config: bool = True  # False: multi-head attention whatever the config says
    multi_query: bool = False  # True: one key/value head where the config says multi_query
    head_width_default: bool = False  # True: an absent head_dim is a constant of the family, not width / heads
    sizes_default: bool = False  # True: config.json may leave out sizes that only the family's class knows
    conditions: tuple[tuple[str, object, str], ...] = ()

    def kv_heads(self, config: Mapping[str, Any]) -> int | None:
        """What a configuration says of heads of keys and values; None: as many as heads."""
        if self.multi_query:
            if config.get("new_decoder_architecture"):
                return config.get("num_kv_heads")
            return 1 if config.get("multi_query", True) else None
        return config.get("num_key_value_heads") if self.kv_heads_from_config else None

    def in_wrapper(self) -> Family:
        """The record of the decoder where it is part of a multimodal wrapper, by the names that wrappers give it."""
        prefixes = tuple(before.format(self.prefixes[0]) for before in _WRAPPED)
        beside = tuple(f"language_model.{name}" for name in self.unembedding)
        return replace(self, prefixes=(*self.prefixes, *prefixes), unembedding=(*self.unembedding, *beside))
