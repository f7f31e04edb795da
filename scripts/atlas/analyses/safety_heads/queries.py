"""Prompts of a data set as token ids, through a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.data.chat import CHAT, ChatOption
from atlas.data.tokens import encode
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN, Limits

if TYPE_CHECKING:
    import pandas as pd

    from atlas.data.chat import Prompter

_NO_SYSTEM = "use a data set without a column `system`"
SHIPS = ChatOption("safety_heads", "template", "{q}", no_system=_NO_SYSTEM)
ANSWERS = ChatOption("ablation_effect", "template", "{q}", no_system=_NO_SYSTEM)

# Conversations that some models were trained on and do not ship as a template: what stands around a prompt, without and
# with a system message. As the models' makers write them; a token that begins texts is the tokenizer's own.
_VICUNA = "{system} USER: {q} ASSISTANT:"
CONVERSATIONS = {
    "vicuna": (
        _VICUNA.replace(
            "{system}",
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions.",
        ),
        _VICUNA,
    ),
    "llama-2": ("[INST] {q} [/INST]", "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{q} [/INST]"),
}


def build_queries(
    prompter: Prompter, rows: pd.DataFrame, template: str, limits: Limits, said: ChatOption, new_tokens: int = 0
) -> tuple[list[tuple[int, ...]], dict[str, Any]]:
    """([token ids (tuple)], report) of the prompts `rows` (a frame with id, text and perhaps system).

    template: a text with {q} where the prompt goes (the tokenizer's own special tokens are added; it has no place for a
    system message), one of CONVERSATIONS, or `chat`: the tokenizer's chat template; the last two with the row's system
    message. Prompts that the model cannot be given, `new_tokens`
    more with them, are dropped. The report names and counts them. `said` is the option that gives the
    template, for errors. Raises AtlasError for an empty prompt and when none is left.
    """
    if template != CHAT and template not in CONVERSATIONS and "{q}" not in template:
        raise AtlasError(f"{said.name} is {template!r}, which has no {{q}} for the prompt; add it, or use chat.")
    systems = rows["system"] if "system" in rows else [None] * len(rows)
    queries: list[tuple[int, ...]] = []
    used: list[str] = []
    dropped: dict[str, list[str]] = {LONG: [], UNKNOWN: []}
    for name, text, system in zip(rows["id"], rows["text"], systems, strict=True):
        if not str(text).strip():
            raise AtlasError(f"prompt {name!r} is empty; remove it from the data set.")
        ids = _encode(prompter, text, system if isinstance(system, str) else None, template, said)
        objection = limits.objection(ids, new_tokens)
        if objection is not None:
            dropped.setdefault(objection, []).append(name)
            continue
        queries.append(tuple(ids))
        used.append(name)
    if not queries:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in dropped.items() if names)
        raise AtlasError(
            f"none of {len(rows)} prompts can be given to the model ({counts}): {limits.describe()}; use other prompts."
        )
    return queries, {
        "prompts": len(queries),
        "of": len(rows),
        "ids": used,
        "dropped": dropped,
    }


def _encode(prompter: Prompter, text: str, system: str | None, template: str, said: ChatOption) -> list[int]:
    if template in CONVERSATIONS:
        template = CONVERSATIONS[template][system is not None].replace("{system}", system or "")
    if template != CHAT:
        # Not str.format: prompts and templates may hold braces of their own.
        return encode(prompter.tokenizer, template.replace("{q}", text), special=True)
    messages = [{"role": "system", "content": system}] if system else []
    prompter.frame(messages, said)  # for the record; the text goes in whole, because templates strip it
    written = prompter.render([*messages, {"role": "user", "content": text}], said)
    return encode(prompter.tokenizer, written, special=False)  # the template writes its own special tokens
