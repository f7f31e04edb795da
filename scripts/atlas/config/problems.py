"""How problems of a configuration are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from atlas.errors import AtlasError
from atlas.nearest import nearest, nearest_of

__all__ = ["key_problems", "nearest", "nearest_of", "raise_all", "size_problems"]

# A hundred times what a hundred models with options of their own take.
MOST_VALUES = 1_000_000


def raise_all(problems: Iterable[str]) -> None:
    """Raise AtlasError with every sentence once, if there is any."""
    unique = list(dict.fromkeys(problems))
    if unique:
        head = "The configuration has an error: " if len(unique) == 1 else "The configuration has errors:\n  - "
        raise AtlasError(head + "\n  - ".join(unique))


def size_problems(config: Any) -> Iterator[str]:
    """A configuration whose aliases (`*name`) stand for too much, or for themselves, before anything walks through it.

    What is shared is counted at each place that it stands in, and looked at once.
    """
    sizes: dict[int, int] = {}
    opened: set[int] = set()
    # A value is met twice: to go on to what it holds, and when all of that is counted.
    waiting: list[tuple[Any, str, bool]] = [(config, "", False)]
    while waiting:
        value, where, counted = waiting.pop()
        items = list(_items(value))
        if counted:
            opened.discard(id(value))
            sizes[id(value)] = 1 + sum(sizes.get(id(inner), 1) for _, inner in items)
            if sizes[id(value)] > MOST_VALUES:
                yield (
                    f"{where or 'the configuration'}: its aliases (*name), written out, are more than {MOST_VALUES:,} "
                    "values; write down what is meant."
                )
                return
        elif id(value) in opened:
            yield f"{where}: it is an alias (*name) inside of what it stands for; write down what is meant."
            return
        elif items and id(value) not in sizes:
            opened.add(id(value))
            waiting.append((value, where, True))
            waiting += [(inner, f"{where}.{key}" if where else str(key), False) for key, inner in items]


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def key_problems(value: Any, where: str = "") -> Iterator[str]:
    """Keys that YAML takes for no text (`1:`, `no:`, `null:`) or that cannot be seen: nothing could name what stands
    under them."""
    for key, inner in _items(value):
        place = f"{where}.{key}" if where else str(key)
        if isinstance(value, Mapping) and not isinstance(key, str):
            yield f"{where or 'the configuration'}: the key {key!r} is no text for YAML; write it in quotation marks."
        elif not place.isprintable():  # it would break the sentences about what stands under it
            yield f"{where or 'the configuration'}: the key {key!r} holds signs that cannot be seen; correct it."
            continue
        yield from key_problems(inner, place)
