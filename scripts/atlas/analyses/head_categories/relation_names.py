"""Options that name relations, held against the relations that the data have."""

from __future__ import annotations

from collections.abc import Iterable

from atlas.errors import AtlasError
from atlas.nearest import nearest


def check_names(given: Iterable[str], relations: Iterable[str], option: str) -> None:
    """AtlasError where one of `given` names no relation of the data, with the nearest name.

    relations: those that are given, also where the tokenizer leaves too few pairs of them. `option`: who names them.
    """
    known = list(relations)
    for name in given:
        if name not in known:
            raise AtlasError(f"{option}: the data have no relation {name!r}; {nearest(name, known)}")
