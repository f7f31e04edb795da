"""Checkpoints as GGUF files, as llama.cpp's converter writes them, for tests of the way back.

Written from the format's side: names are those of the `gguf` package, layouts those of llama.cpp.
"""

from pathlib import Path

import numpy as np

from families import build
from tiny_models import TEMPLATE

VOCABULARY = 288
# model_type -> the architecture's name in files
NAMES = {"gemma3_text": "gemma3"}
FAMILIES = ("llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "stablelm", "starcoder2", "gpt2")
LETTERS = [chr(33 + i) if i < 94 else f"x{i}" for i in range(VOCABULARY - 5)]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
TOKENS = ["<unk>", "<s>", "</s>", *LETTERS, "ab", "cd"]


def model(family, **changes):
    """A tiny model of `family` with the vocabulary of these files."""
    return build(family, vocab_size=VOCABULARY, **changes)


def metadata(config):
    """{key: (kind, value)} of the architecture, as the converter takes it from config.json."""
    arch = NAMES.get(config.model_type, config.model_type)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    found = {
        "vocab_size": config.vocab_size, "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size, "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        "attention.head_count": heads,
    }  # fmt: skip
    if arch == "gpt2":
        return arch, found | {"attention.layer_norm_epsilon": config.layer_norm_epsilon}
    found["attention.head_count_kv"] = config.num_key_value_heads
    for name in ("rms_norm_eps", "layer_norm_eps", "norm_epsilon"):
        if hasattr(config, name):
            found["attention.layer_norm_rms_epsilon" if "rms" in name else "attention.layer_norm_epsilon"] = float(
                getattr(config, name)
            )
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    found["rope.freq_base"] = float(rope["rope_theta"])
    found["rope.dimension_count"] = int(width * rope.get("partial_rotary_factor", 1.0))
    if arch in ("qwen3", "gemma2", "gemma3"):
        found |= {"attention.key_length": width, "attention.value_length": width}
    if arch in ("gemma2", "gemma3", "phi3") and config.sliding_window:
        found["attention.sliding_window"] = config.sliding_window
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, name, None):
            found[name] = float(getattr(config, name))
    if arch == "stablelm":
        found["use_parallel_residual"] = config.use_parallel_residual
    return arch, found


def tensors(live, arch):
    """Name in the file -> entries, in the layout of the file."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = live.config
    table = get_tensor_name_map(
        next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == arch), config.num_hidden_layers
    )
    found = {}
    for name, value in live.state_dict().items():
        base, _, suffix = name.rpartition(".")
        entries = value.numpy()
        if base == "lm_head" and config.tie_word_embeddings:
            continue
        if arch == "llama" and base.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if base.endswith("q_proj") else config.num_key_value_heads
            halves = entries.reshape(heads, 2, entries.shape[0] // heads // 2, *entries.shape[1:])
            entries = halves.swapaxes(1, 2).reshape(entries.shape)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            entries = entries + np.float32(1)
        if arch == "gpt2" and base.split(".")[-1] in ("c_attn", "c_proj", "c_fc") and entries.ndim == 2:
            entries = entries.T
        found[f"{table.get_name(base)}.{suffix}"] = np.ascontiguousarray(entries)
    return found


def write(
    path: Path,
    live,
    *,
    keys=None,
    extra=None,
    drop=(),
    plain=None,
    sentencepiece=False,
    words=None,
    kind=None,
) -> Path:
    """`live` as the GGUF file `path`.

    keys: further keys of the architecture, or other values (None: left out). extra: further tensors. drop: tensors that
    are left out. plain: keys by their whole names, over those of the tokenizer. sentencepiece: the kind of vocabulary,
    byte-level otherwise, in which `words`, {id: (token, type)}, take the places of others. kind: a type of ggml, such
    as Q4_K: every matrix is made of random blocks of it.
    """
    from gguf import GGUFWriter

    arch, values = metadata(live.config)
    writer = GGUFWriter(path, arch)
    for key, value in (values | (keys or {})).items():
        _add(writer, f"{arch}.{key}", value)
    tokenizer = {
        "tokenizer.ggml.model": "llama" if sentencepiece else "gpt2", "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0, "tokenizer.chat_template": TEMPLATE,
    }  # fmt: skip
    for key, value in (tokenizer | (plain or {})).items():
        _add(writer, key, value)
    if sentencepiece:
        words = ["<unk>", "<s>", "</s>", *BYTES, "▁", *"abcdefghijklmno", "▁a", "ab", "▁ab"]
        words += [f"▁word{i}" for i in range(VOCABULARY - len(words))]
        writer.add_token_list(words)
        writer.add_token_scores([-float(i) for i in range(VOCABULARY)])
        writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (VOCABULARY - 259)])
    else:
        words = dict(enumerate([(name, 3 if at < 3 else 1) for at, name in enumerate(TOKENS)])) | (words or {})
        writer.add_token_list([name for name, _ in words.values()])
        writer.add_token_merges(["a b", "c d"])
        writer.add_token_types([kind for _, kind in words.values()])
    for name, entries in (tensors(live, arch) | (extra or {})).items():
        if name in drop:
            continue
        if kind is None or entries.ndim < 2:
            writer.add_tensor(name, entries)
        else:
            blocks, number = random_blocks(kind, entries.shape)
            writer.add_tensor(name, blocks, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_blocks(kind, shape, seed=0):
    """(bytes (rows, bytes of a row), number of the type) of a matrix whose scales are all finite."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    number = GGMLQuantizationType[kind]
    entries, size = GGML_QUANT_SIZES[number]
    assert shape[-1] % entries == 0, "rows are whole blocks"
    row = shape[-1] // entries * size
    # Without its second bit no byte begins an exponent of a half that is all ones.
    blocks = np.random.default_rng(seed).integers(0, 256, (*shape[:-1], row), dtype=np.uint8) & 0xBF
    return blocks, number


def _add(writer, key, value):
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, list(value))
