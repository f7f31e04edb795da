"""What a model or a data set may consist of: files that are brought in, and files that never are."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath

from atlas.data.suffixes import DATA_SUFFIXES

# What a model or a data set may consist of. Pickles (.bin, .pt, .pth, .pkl, .ckpt) and code (.py) run on loading.
CONFIGS = ("config.json", "generation_config.json", "model.safetensors.index.json")
TOKENIZERS = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "README.md")
WEIGHTS = (".safetensors", ".gguf")
MODEL_FILES = ("*.safetensors", "*.gguf", *CONFIGS, *TOKENIZERS, *LICENCES)
DATA_FILES = tuple(f"*{suffix}" for suffix in DATA_SUFFIXES) + LICENCES
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
# An adapter (LoRA and others of peft) is a change of a base model.
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
MERGE = "merge it into its base first and use that folder as a path source (docs/adding.md, Merging an adapter)"


def allowed(name: str, model: bool = True) -> bool:
    """Whether a file of this name may be taken at all: by its type, never code or pickles."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(part.startswith(".") for part in path.parts):
        return False
    return any(fnmatch(path.name, pattern) for pattern in (MODEL_FILES if model else DATA_FILES))


def is_about(name: str) -> bool:
    """Whether a file of this name says something of the others: a licence, a README."""
    return any(fnmatch(PurePosixPath(name).name, pattern) for pattern in LICENCES)
