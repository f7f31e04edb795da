"""A tokenizer's chat template as the text before and after what a user says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SAID = "\u2063said\u2063"  # invisible separators: no data holds them


def chat_frame(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], option: str, other: str, lead: str = ""
) -> tuple[str, str]:
    """(text before, text after) of the user's turn that follows `messages` and begins with `lead`.

    The template writes its own special tokens. option and other: what the configuration calls the choice of chat, and
    what to set instead, for the errors: AtlasError where there is no template or where it changes what is said.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise AtlasError(f"{option} is chat, but the model's tokenizer has no chat template; use {other}.")
    written = tokenizer.apply_chat_template(
        [*messages, {"role": "user", "content": lead + _SAID}], tokenize=False, add_generation_prompt=True
    )
    before, found, after = str(written).partition(_SAID)  # tokenize=False: text
    if not found:
        raise AtlasError(f"{option} is chat, but the model's chat template changes the user's text; use {other}.")
    return before, after
