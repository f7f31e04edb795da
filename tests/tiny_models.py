"""Tiny model folders and GGUF files on disk, with tokenizers, for tests of sources and controls."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from families import build

WORDS = ["<unk>", "<s>", "</s>", *[f"w{i}" for i in range(196)]]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def save_folder(folder: Path, family: str = "llama", dtype=None, **overrides) -> Path:
    """A model of `family` with a word tokenizer and a chat template, as Hugging Face stores it."""
    model = build(family, **overrides)
    model = model.to(dtype) if dtype else model
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def save_gguf(path: Path, quantisation: str = "Q8_0", seed: int = 0, merges=("a b", "c d")) -> dict[str, np.ndarray]:
    """A Llama of two layers as GGUF, its matrices in `quantisation`. Returns what a reader must find."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    rng = np.random.default_rng(seed)
    width, heads, inner, vocabulary = 64, 4, 96, 32 + 256
    kind = GGMLQuantizationType[quantisation]
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    letters = [chr(33 + i) if i < 94 else f"x{i}" for i in range(vocabulary - 5)]
    tokens = ["<unk>", "<s>", "</s>", *letters, "ab", "cd"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(list(merges))
    writer.add_token_types([3, 3, 3, *[1] * (vocabulary - 3)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    values = {}

    def matrix(name, *shape):
        entries = rng.normal(0, 0.1, shape).astype(np.float32)
        packed = quants.quantize(entries, kind)
        values[name] = quants.dequantize(packed, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)

    def vector(name, size):
        values[name] = rng.normal(1, 0.1, size).astype(np.float32)
        writer.add_tensor(name, values[name])

    matrix("token_embd.weight", vocabulary, width)
    vector("output_norm.weight", width)
    for layer in range(2):
        for name, shape in {
            "attn_q": (width, width), "attn_k": (width // 2, width), "attn_v": (width // 2, width),
            "attn_output": (width, width), "ffn_gate": (inner, width), "ffn_up": (inner, width),
            "ffn_down": (width, inner),
        }.items():  # fmt: skip
            matrix(f"blk.{layer}.{name}.weight", *shape)
        vector(f"blk.{layer}.attn_norm.weight", width)
        vector(f"blk.{layer}.ffn_norm.weight", width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values
