"""Whether a model's folder holds a chat template, told from its files: no tokenizer is loaded."""

from __future__ import annotations

from pathlib import Path

from atlas import json_text


def chat_template_in(folder: Path) -> bool | None:
    """Whether the tokenizer in a Hugging Face folder has a chat template; None where its files do not tell."""
    if not folder.is_dir() or not any(folder.glob("*.safetensors")):  # a GGUF has its template inside
        return None
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        settings = json_text.load((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return None  # whoever loads it says what is wrong
    return bool(settings.get("chat_template")) if isinstance(settings, dict) else None
