"""The name that a wrong one was probably meant to be."""

import difflib
from collections.abc import Iterable


def nearest_of(key: object, known: Iterable[str]) -> str | None:
    """The one of `known` that `key` was probably meant to be."""
    near = difflib.get_close_matches(str(key), list(known), n=1)
    return near[0] if near else None


def nearest(key: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown key: what was meant, or what there is."""
    known = list(known)
    near = nearest_of(key, known)
    return f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}."
