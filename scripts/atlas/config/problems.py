"""How problems of a configuration are told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from atlas.errors import AtlasError


def raise_all(problems: Iterable[str]) -> None:
    """Raise AtlasError with every sentence once, if there is any."""
    unique = list(dict.fromkeys(problems))
    if unique:
        head = "The configuration has an error: " if len(unique) == 1 else "The configuration has errors:\n  - "
        raise AtlasError(head + "\n  - ".join(unique))


def nearest_of(key: object, known: Iterable[str]) -> str | None:
    """The one of `known` that `key` was probably meant to be."""
    near = difflib.get_close_matches(str(key), list(known), n=1)
    return near[0] if near else None


def nearest(key: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown key: what was meant, or what there is."""
    known = list(known)
    near = nearest_of(key, known)
    return f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}."


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
