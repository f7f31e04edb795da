"""What must hold before shards are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.errors import AtlasError


def require_one_dtype(documents: Sequence[Mapping[str, Any]], files: Sequence[str]) -> None:
    """AtlasError unless the models of all shards ran in one dtype (of their provenance documents)."""
    dtypes = [document.get("runtime", {}).get("dtype") for document in documents]
    if len(set(dtypes)) > 1:
        other = next(index for index, dtype in enumerate(dtypes) if dtype != dtypes[0])
        raise AtlasError(
            f"{files[other]} was computed in {dtypes[other]} and {files[0]} in {dtypes[0]}, on another machine; "
            "name one dtype in the configuration (models.KEY.dtype, analyses.mink.dtype) and run again."
        )


def require_one_frame(documents: Sequence[Mapping[str, Any]], files: Sequence[str]) -> None:
    """AtlasError unless all shards (their provenance documents) rendered the model's chat template in the same way."""
    frames = [document.get("chat") for document in documents]
    other = next((index for index, frame in enumerate(frames) if frame != frames[0]), None)
    if other is not None:
        raise AtlasError(
            f"{files[other]} and {files[0]} were computed with different renderings of the model's chat template "
            f"({frames[other]}, {frames[0]}), so they do not belong together; delete both and run again."
        )
