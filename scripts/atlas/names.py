"""Which known names an unknown one may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePosixPath


def closest(name: str, names: Iterable[str]) -> str:
    """' (nearest: a, b)' for a message about an unknown name, or ''."""
    names = sorted(names)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    if not near:  # paths differ in their folders more than in their last part
        last = PurePosixPath(name).name
        near = [other for other in names if PurePosixPath(other).name == last][:3]
    return f" (nearest: {', '.join(near)})" if near else ""
