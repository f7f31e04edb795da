"""transformers' configuration of a GGUF with every metadata key of its architecture carried over, or the key refused.

transformers reads sizes and little more: scaling of positions, partial rotation, soft caps, windows and widths of heads
that its table leaves out would silently take the defaults of the family's class. Absent keys mean what they mean to
llama.cpp, for which the files are written.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.models.gguf_rope import rope_parameters

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from atlas.models.gguf_file import GgufFile


@dataclass(frozen=True)
class Architecture:
    """How files of an architecture differ from the checkpoints of its family.

    permuted: rows of W_Q and W_K are in the order of interleaved rotation. norm_offset: what the converter added to the
    gains of norms. transposed: ends of the names of tensors that are stored (out, in) where the family has (in, out).
    partial: it may rotate a part of a head only. window: it may have a sliding window.
    """

    permuted: bool = False
    norm_offset: float = 0.0
    transposed: tuple[str, ...] = ()
    partial: bool = False
    window: bool = False


_GEMMA = Architecture(norm_offset=1.0, window=True)
# Those whose conversion is tested, tensor by tensor and in their logits, against the checkpoint that they came from.
ARCHITECTURES = {
    "llama": Architecture(permuted=True),
    "qwen2": Architecture(),
    "qwen3": Architecture(),
    "phi3": Architecture(partial=True, window=True),
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "stablelm": Architecture(partial=True),
    "starcoder2": Architecture(window=True),
    "gpt2": Architecture(
        transposed=("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight"),
    ),
}

# Key of the file -> names of the configuration's attribute, of which a family has one.
_VALUES: dict[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "context_length": ("max_position_embeddings",),
    "embedding_length": ("hidden_size",),
    "block_count": ("num_hidden_layers",),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "use_parallel_residual": ("use_parallel_residual",),
}
# Keys of which llama.cpp wants one of each line too. A family's default in its place would be another model's.
_REQUIRED: tuple[tuple[str, ...], ...] = (
    ("context_length",),
    ("embedding_length",),
    ("block_count",),
    ("attention.head_count",),
    ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"),
)
_TOKENS = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
# llama.cpp tells the 27B models by their depth: they scale scores by width / heads, the others by the heads' width.
_DEPTH_OF_27B = {"gemma2": 46, "gemma3": 62}


def check_architecture(file: GgufFile) -> None:
    """Raises AtlasError: an architecture that is not in the table, sizes that are missing or differ between layers."""
    if file.architecture not in ARCHITECTURES:
        raise file.refuse(
            f"files of the architecture {file.architecture!r} are not converted (only {', '.join(ARCHITECTURES)})"
        )
    for key in (*_VALUES, "attention.head_count_kv"):
        _one(file, key)
    for choice in _REQUIRED:
        if not any(_one(file, key) for key in choice):
            names = " or ".join(f"'{file.architecture}.{key}'" for key in choice)
            raise file.refuse(f"it lacks the metadata key {names}")


def carry_over(file: GgufFile, config: PreTrainedConfig) -> PreTrainedConfig:
    """`config`, which transformers read from `file`, changed in place to say all that the file says.

    Takes every key of the architecture that it knows. Raises AtlasError: a value that the family has no form for. What
    is left is refused by `GgufFile.refuse_unused`.
    """
    for key, names in _VALUES.items():
        if (value := _one(file, key)) is not None:
            _set(file, config, key, names, value)
    _set_heads(file, config)
    if hasattr(config, "rope_parameters"):
        _set_rotation(file, config)
    _set_windows(file, config)
    for name, key in _TOKENS.items():
        setattr(config, name, file.take_plain(f"tokenizer.ggml.{key}"))
    if file.take("attention.causal", True) is not True:
        raise file.refuse("its attention is not causal")
    return config


def _one(file: GgufFile, key: str) -> Any:
    """A key's value; a list with one value per layer must have the same for all."""
    value = file.take(key)
    if isinstance(value, list):
        if not value or any(entry != value[0] for entry in value):
            raise file.refuse(f"the metadata key '{file.architecture}.{key}' differs between layers")
        return value[0]
    return value


def _set(file: GgufFile, config: PreTrainedConfig, key: str, names: tuple[str, ...], value: Any) -> None:
    name = next((name for name in names if hasattr(config, name)), None)
    if name is None:
        raise file.refuse(
            f"the metadata key '{file.architecture}.{key}' ({value}) has no place in a configuration of its family"
        )
    setattr(config, name, value)


def _width(file: GgufFile, config: PreTrainedConfig) -> int:
    """Width of a head: as stated, else (Llama) what is rotated, else the model's width over its heads."""
    stated = _one(file, "attention.key_length")
    if stated is None and ARCHITECTURES[file.architecture].permuted:
        stated = _one(file, "rope.dimension_count")
    return int(stated or config.hidden_size // config.num_attention_heads)


def _set_heads(file: GgufFile, config: PreTrainedConfig) -> None:
    width, values = _width(file, config), _one(file, "attention.value_length")
    if values not in (None, width):
        raise file.refuse(f"its value heads are {values} wide and its key heads {width}")
    if hasattr(config, "head_dim"):
        config.head_dim = width
    elif width * config.num_attention_heads != config.hidden_size:
        raise file.refuse(f"heads of the width {width} do not fit its family, which divides the model's width by them")
    groups = _one(file, "attention.head_count_kv")
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = int(groups or config.num_attention_heads)
    elif groups not in (None, config.num_attention_heads):
        raise file.refuse(f"{groups} value heads for {config.num_attention_heads} heads have no form in its family")
    if (scale := _one(file, "attention.scale")) is not None:
        scalar = float(scale) ** -2
        if not math.isclose(scalar, round(scalar), rel_tol=1e-5):
            raise file.refuse(
                f"the metadata key 'attention.scale' ({scale}) is not one over the root of a whole number"
            )
        _set(file, config, "attention.scale", ("query_pre_attn_scalar",), round(scalar))
    elif file.architecture in _DEPTH_OF_27B:
        large = config.num_hidden_layers == _DEPTH_OF_27B[file.architecture]
        config.query_pre_attn_scalar = config.hidden_size // config.num_attention_heads if large else width


def _set_rotation(file: GgufFile, config: PreTrainedConfig) -> None:
    width = _width(file, config)
    rotated = int(_one(file, "rope.dimension_count") or width)
    base = float(file.take("rope.freq_base") or 10000.0)
    found = rope_parameters(file, base, rotated, config.max_position_embeddings)
    if ARCHITECTURES[file.architecture].partial:
        found["partial_rotary_factor"] = rotated / width
    elif rotated != width:
        raise file.refuse(f"it rotates {rotated} of the {width} dimensions of a head, which its family cannot")
    if hasattr(config, "original_max_position_embeddings"):  # wins over what is among the parameters
        config.original_max_position_embeddings = found.get(
            "original_max_position_embeddings", config.max_position_embeddings
        )
    if file.architecture == "gemma3":  # layers with a window have a rotation of their own, which is never scaled
        local = {"rope_type": "default", "rope_theta": float(file.take("rope.freq_base_swa") or 10000.0)}
        config.rope_parameters = {"full_attention": found, "sliding_attention": local}
    else:
        config.rope_parameters = found


def _set_windows(file: GgufFile, config: PreTrainedConfig) -> None:
    # Zero is how Phi-4, which has none, differs from Phi-3.
    window, pattern = _one(file, "attention.sliding_window") or None, file.take("attention.sliding_window_pattern")
    if not ARCHITECTURES[file.architecture].window:
        if window is not None and window < config.max_position_embeddings:
            raise file.refuse(f"a sliding window of {window} tokens has no form in its family")
        return
    depth = config.num_hidden_layers
    if file.architecture not in _DEPTH_OF_27B:
        config.sliding_window = window
        if pattern is not None:
            raise file.refuse("its family has no layers with and without a sliding window")
        return
    every = 2 if file.architecture == "gemma2" else 6
    if window is None and file.architecture == "gemma3":
        sliding = [False] * depth
    elif isinstance(pattern, list):
        sliding = [bool(entry) for entry in pattern][:depth]
    else:
        sliding = [(layer + 1) % int(pattern or every) != 0 for layer in range(depth)]
    config.sliding_window = int(window or 4096)
    config.layer_types = ["sliding_attention" if local else "full_attention" for local in sliding]
