"""What sequences of token ids that an analysis makes begin with, and which ids they may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.data.tokens import front_ids, ordinary_ids
from atlas.errors import AtlasError
from atlas.own_options import own_options

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import PreTrainedTokenizerBase

    from atlas.models.limits import Limits


def beginning(tokenizer: PreTrainedTokenizerBase, bos: bool | str, model: str, analysis: str) -> list[int]:
    """The ids in front of every sequence under analyses.{analysis}.bos.

    auto: what the tokenizer itself puts in front of a text; true: that, or the token where it puts none. `model` is its
    key, for errors. Raises AtlasError where there is no such token.
    """
    front = front_ids(tokenizer) if bos else []
    if bos is True and not front:
        if tokenizer.bos_token_id is None:
            raise AtlasError(
                f"analyses.{analysis}.bos is true, but model {model}'s tokenizer has no beginning-of-sequence token; "
                f"write {own_options(model, analysis, 'bos', 'auto')}."
            )
        front = [int(tokenizer.bos_token_id)]
    return front


def drawable(tokenizer: PreTrainedTokenizerBase, limits: Limits) -> Int[np.ndarray, " ids"]:
    """The ids that random sequences are drawn from, in order: those that stand for text and that the model knows."""
    known = np.array(ordinary_ids(tokenizer))
    return known[known < limits.vocabulary]
