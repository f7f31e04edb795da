"""Sentences of plots name options as `figures.*.OPTION`, because a plot does not know the key of its figure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from atlas.errors import AtlasError


@contextlib.contextmanager
def of_figure(key: str) -> Iterator[None]:
    """Within it, an AtlasError on `figures.*` is one on figures.{key}."""
    try:
        yield
    except AtlasError as error:
        raise AtlasError(str(error).replace("figures.*", f"figures.{key}", 1)) from error
