"""How problems of a configuration are told."""

import difflib

from atlas.errors import AtlasError


def raise_all(problems):
    if problems:
        unique = list(dict.fromkeys(problems))
        head = "The configuration has an error: " if len(unique) == 1 else "The configuration has errors:\n  - "
        raise AtlasError(head + "\n  - ".join(unique))


def nearest(key, known):
    near = difflib.get_close_matches(str(key), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known) or 'none'}."
