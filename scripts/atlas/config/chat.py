"""What chat templates are given: the day, and values for single models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from atlas.config.by_model import block_of
from atlas.errors import AtlasError
from atlas.fetch.entries import describe_source, made_as, made_of
from atlas.models.chat_template import chat_template_in
from atlas.own_options import own_options
from atlas.results.provenance import read_provenance

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


# The options of analyses that may ask for a model's chat template.
_ASKING = ("template", "prompt")


def dates_as_text(value: Any) -> Any:
    """A copy in which days, which YAML reads out of `2024-07-26`, are text again."""
    if isinstance(value, dict):
        return {key: dates_as_text(held) for key, held in value.items()}
    if isinstance(value, list):
        return [dates_as_text(held) for held in value]
    return value.isoformat() if isinstance(value, date) else value


def chat_problems(config: dict[str, Any]) -> Iterator[str]:
    """Problems of `chat_date` and of each model's `chat_template_kwargs` (filled in for controls) and `tokenizer`."""
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
        if entry["tokenizer"] and made_of(entry["source"]):
            yield f"models.{key}.tokenizer: {made_as(entry['source'])} has the tokenizer of its base; give it there."


def template_problems(config: dict[str, Any], base: Path) -> Iterator[str]:
    """Models that are to be asked in a chat template and have none, where their tokenizer is already there.

    `base`: the folder that relative paths of sources start from. Results are in the working directory.
    """
    for name, option, model in _asked(config, "chat"):
        if (name, option, made_of(config["models"][model]["source"])) in _asked(config, "chat"):
            continue  # told of its base, whose options and template it has
        if _has_template(model, config["models"], base) is False:
            yield (
                f"models.{model}: analyses.{name}.{option} is chat, but this model's tokenizer has no chat template; "
                f"write {own_options(model, name, option, 'auto')}, or {option}: auto in analyses.{name}."
            )


def _asked(config: dict[str, Any], *values: str) -> list[tuple[str, str, str]]:
    """[(analysis, option, model)] where the option that may ask for a model's template has one of `values`."""
    return [
        (name, option, model)
        for name, block in config["analyses"].items()
        for model in block["models"]
        for option in _ASKING
        if block_of(name, model, config).get(option) in values
    ]


def _has_template(key: str, models: dict[str, Any], base: Path) -> bool | None:
    """Whether a model has a chat template; None where that is not known before it is downloaded or converted."""
    source = models[key]["source"]
    if (of := made_of(source)) is not None:
        return _has_template(of, models, base)
    if "path" in source:
        return chat_template_in(base / Path(source["path"]).expanduser())
    folder = Path("results", "models", key)
    return chat_template_in(folder) if _came_from(folder, source) else None


def _came_from(folder: Path, source: Any) -> bool:
    """Whether what lies in a folder of results/models is what the configuration asks for: it may have been changed."""
    try:
        served = read_provenance(folder)["source"]
    except (AtlasError, KeyError, OSError):
        return False
    return any(
        _given(served) == _given(describe_source(one)) for one in (source if isinstance(source, list) else [source])
    )


def _given(source: dict[str, Any]) -> Any:
    return {kind: {key: one for key, one in options.items() if one is not None} for kind, options in source.items()}


def chat_notes(config: dict[str, Any]) -> Iterator[str]:
    """What was given for chat templates and bears on nothing; expects analyses whose models are resolved."""
    asked = {model for _, _, model in _asked(config, "chat", "auto")}
    for key, entry in config["models"].items():
        if entry["chat_template_kwargs"] and key not in asked:
            yield f"models.{key}.chat_template_kwargs: no analysis here uses the chat template of {key}."


def _own_or_base(key: str, models: dict[str, Any]) -> dict[str, Any]:
    """A model's own values, or those of what it is made of: base and control are asked in the same words."""
    seen: set[str] = set()
    while key in models and key not in seen:
        seen.add(key)
        own, of = models[key]["chat_template_kwargs"], made_of(models[key]["source"])
        if own is not None or of is None:
            return own or {}
        key = of
    return {}
