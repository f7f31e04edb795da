"""What a model can be given: how many tokens, and which. Every analysis asks here before it runs a text.

Beyond its context a model with learned positions fails, and one with rotary positions goes on to numbers that mean
nothing. Two kinds of rotation also follow the longest text of a batch once it passes a length ("dynamic" and
"longrope" of transformers), so that a text's numbers would depend on its neighbours: there the limit is that length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError
from atlas.models.architectures import read_config, read_shape

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

LONG = "longer than the model's context"
UNKNOWN = "has a token that the model does not know"
EMPTY = "gives no token"  # a text of nothing that its tokenizer keeps
_DYNAMIC, _LONG_ROTATION = "dynamic", ("longrope", "su")


@dataclass(frozen=True)
class Limits:
    """tokens: the longest text that the model takes, None for any; vocabulary: its ids are 0 to vocabulary - 1."""

    tokens: int | None
    vocabulary: int

    def objection(self, ids: Sequence[int], new_tokens: int = 0) -> str | None:
        """Why the model cannot take `ids` and write `new_tokens` more: EMPTY, LONG, UNKNOWN, or None where it can."""
        if not len(ids):
            return EMPTY
        if self.tokens is not None and len(ids) + new_tokens > self.tokens:
            return LONG
        return UNKNOWN if any(not 0 <= token < self.vocabulary for token in ids) else None

    def describe(self) -> str:
        """The limits in words, for messages."""
        longest = "texts of any length" if self.tokens is None else f"at most {self.tokens} tokens"
        return f"the model takes {longest} and knows {self.vocabulary} token ids"


def read_limits(source: str | Path | Mapping[str, Any] | PreTrainedConfig) -> Limits:
    """The limits of the model in a folder, or of its configuration (mapping or object). Raises AtlasError."""
    if isinstance(source, str | Path):
        values, shape = read_config(source), read_shape(source)
    elif isinstance(source, Mapping):
        values = dict(source)
        shape = read_shape(values)
    else:  # asked itself, it honours what its class calls sizes otherwise; some say none for all layers then
        values = source.to_dict()
        try:
            shape = read_shape(values)
        except AtlasError:
            shape = read_shape(source)
    borders = [shape.context, *(border for part in _parts(values) for border in _borders(part, shape.context))]
    return Limits(min((border for border in borders if border), default=None), shape.vocabulary)


def _parts(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configuration and those nested in it (`text_config`)."""
    yield values
    for name in ("text_config", "llm_config"):
        if isinstance(part := values.get(name), Mapping):
            yield part


def _borders(values: Mapping[str, Any], context: int | None) -> Iterator[int | None]:
    """Lengths from which on a rotation depends on the batch, of one for all layers or of one for each type of layer."""
    for name in ("rope_parameters", "rope_scaling"):
        given = values.get(name)
        if not isinstance(given, Mapping):
            continue
        for rotation in (given, *(part for part in given.values() if isinstance(part, Mapping))):
            kind = rotation.get("rope_type", rotation.get("type"))
            if kind == _DYNAMIC:
                yield values.get("max_position_embeddings", context)
            elif kind in _LONG_ROTATION:
                stated = rotation.get("original_max_position_embeddings")
                yield stated or values.get("original_max_position_embeddings") or context
