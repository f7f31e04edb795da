"""What chat templates are given: the day, and values for single models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

# What the workflow itself says when it renders a template; a value of one of these names would be another rendering.
_OURS = (
    "conversation",
    "messages",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "sanitize_control_tokens",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
    "strftime_now",
)


def dates_as_text(value: Any) -> Any:
    """A copy in which days, which YAML reads out of `2024-07-26`, are text again."""
    if isinstance(value, dict):
        return {key: dates_as_text(held) for key, held in value.items()}
    if isinstance(value, list):
        return [dates_as_text(held) for held in value]
    return value.isoformat() if isinstance(value, date) else value


def chat_problems(config: dict[str, Any]) -> Iterator[str]:
    """Problems of `chat_date` and of each model's `chat_template_kwargs`, which are filled in for controls."""
    try:
        date.fromisoformat(config["chat_date"])
    except ValueError:
        yield f"chat_date: there is no day {config['chat_date']!r}; give one as 2024-07-26."
    models = config["models"]
    for key, entry in models.items():
        for name in entry["chat_template_kwargs"] or ():
            if name in _OURS:
                yield f"models.{key}.chat_template_kwargs: {name!r} is set by the workflow; take it out."
        entry["chat_template_kwargs"] = _own_or_base(key, models)


def chat_notes(config: dict[str, Any]) -> Iterator[str]:
    """What was given for chat templates and bears on nothing; expects analyses whose models are resolved."""
    asked = {
        model
        for block in config["analyses"].values()
        if "chat" in (block.get("template"), block.get("prompt"))
        for model in block["models"]
    }
    for key, entry in config["models"].items():
        if entry["chat_template_kwargs"] and key not in asked:
            yield f"models.{key}.chat_template_kwargs: no analysis here uses the chat template of {key}."


def _own_or_base(key: str, models: dict[str, Any]) -> dict[str, Any]:
    """A model's own values, or those of what it is a control of: base and control are asked in the same words."""
    seen: set[str] = set()
    while key in models and key not in seen:
        seen.add(key)
        own, source = models[key]["chat_template_kwargs"], models[key]["source"]
        if own is not None or "control" not in source:
            return own or {}
        key = source["control"]["of"]
    return {}
