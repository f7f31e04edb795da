"""Up to how many tokens the engine follows a model, where `self_check` found that it does not follow it for ever."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from ..errors import AtlasError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LONGEST: weakref.WeakKeyDictionary[PreTrainedModel, int] = weakref.WeakKeyDictionary()


def limit_texts(model: PreTrainedModel, tokens: int | None) -> None:
    """Remember up to how many tokens the engine follows `model`; None: any."""
    _LONGEST.pop(model, None)
    if tokens is not None:
        _LONGEST[model] = tokens


def longest_text(model: PreTrainedModel) -> int | None:
    """How many tokens a text of `model` may have in the engine; None: any."""
    return _LONGEST.get(model)


def refuse_longer(longest: int | None, tokens: int) -> None:
    """Raises AtlasError for a text of more tokens than the engine follows the model."""
    if longest is not None and tokens > longest:
        raise AtlasError(
            f"a text has {tokens} tokens, but beyond {longest} this model's attention leaves out keys in a way that "
            "the engine does not follow; shorten the texts, or leave this model out of the analysis."
        )
