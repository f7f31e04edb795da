"""How problems of a configuration are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from atlas.errors import AtlasError
from atlas.nearest import nearest, nearest_of

__all__ = ["key_problems", "nearest", "nearest_of", "raise_all"]


def raise_all(problems: Iterable[str]) -> None:
    """Raise AtlasError with every sentence once, if there is any."""
    unique = list(dict.fromkeys(problems))
    if unique:
        head = "The configuration has an error: " if len(unique) == 1 else "The configuration has errors:\n  - "
        raise AtlasError(head + "\n  - ".join(unique))


def key_problems(value: Any, where: str = "") -> Iterator[str]:
    """Keys that YAML takes for no text (`1:`, `no:`, `null:`) or that cannot be seen: nothing could name what stands
    under them."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        place = f"{where}.{key}" if where else str(key)
        if isinstance(value, Mapping) and not isinstance(key, str):
            yield f"{where or 'the configuration'}: the key {key!r} is no text for YAML; write it in quotation marks."
        elif not place.isprintable():  # it would break the sentences about what stands under it
            yield f"{where or 'the configuration'}: the key {key!r} holds signs that cannot be seen; correct it."
            continue
        yield from key_problems(inner, place)
