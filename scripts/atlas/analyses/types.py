"""Types that several analyses share. Only the type checker reads them: imports stand under `if TYPE_CHECKING`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from torch import Tensor

# What a file of arrays holds, by name; a merge takes those of all shards.
Arrays: TypeAlias = Mapping[str, np.ndarray]
# The first columns of a table: {"model": key, "dataset": key}.
Keys: TypeAlias = Mapping[str, str]
# Token ids of one text.
Ids: TypeAlias = Sequence[int]
# [begin, end): characters of a text.
Span: TypeAlias = tuple[int, int]
# Wraps the batches (lists of row numbers) of a run, to say how far it is.
Progress: TypeAlias = Callable[[Iterable[list[int]]], Iterable[list[int]]]
# (keys, values) of every layer, (1, heads, tokens, width) each, of what all texts begin with.
KeysAndValues: TypeAlias = Sequence[tuple[Tensor, Tensor]]
