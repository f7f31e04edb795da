"""Checks of analyses.head_categories that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """No k beyond the stored ranks."""
    for relation, k in block["k"].items():
        if k > block["k_max"]:
            yield f"{where}.k.{relation}: {k} is beyond k_max = {block['k_max']}; raise k_max."
