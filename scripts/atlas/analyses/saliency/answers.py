"""What a model answers to the questions of a qa data set, as it is stored: the tokens that it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from atlas.models.generation import Answer


def token_answers(answers: Sequence[Answer], table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """A frame with number, id, answer (text, to read), tokens (ids without the end token), stop and prompt_tokens."""
    return pd.DataFrame(
        {
            "number": [answer.number for answer in answers],
            "id": [table["id"][answer.number] for answer in answers],
            "answer": [str(tokenizer.decode(list(answer.ids))).strip() for answer in answers],
            "tokens": [list(answer.ids) for answer in answers],
            "stop": [answer.stop for answer in answers],
            "prompt_tokens": [answer.prompt_tokens for answer in answers],
        }
    )
