"""LLM Internals Atlas: the library behind the workflow. Of Snakemake know `facade`, which runs it, and `planning`.

`atlas.sinks(...)`, `atlas.saliency(...)`, `atlas.head_categories(...)`, `atlas.safety_heads(...)`, `atlas.min_k(...)`,
`atlas.meaningless_tokens(...)`, `atlas.table(...)` and `atlas.read(...)` are those of atlas.facade.
"""

from __future__ import annotations

from typing import Any

FACADE = ("head_categories", "meaningless_tokens", "min_k", "read", "safety_heads", "saliency", "sinks", "table")


def __getattr__(name: str) -> Any:
    """The functions of the facade, which is imported when one of them is asked for: jobs need none of it."""
    if name not in FACADE:
        raise AttributeError(f"module 'atlas' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("atlas.facade"), name)
