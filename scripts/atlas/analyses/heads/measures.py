"""The head columns of the analyses that a job is told of, found by name: no list of them stands here."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

from atlas.analyses.by_head import Measure


def head_columns(folder: str) -> ModuleType:
    """The module head_columns of an analysis of heads."""
    return import_module(f"atlas.analyses.{folder}.head_columns")


def measures(folders: Iterable[str]) -> dict[str, Measure]:
    """column of the table heads -> how it is told, of the analyses in `folders`, in their order."""
    return {name: measure for folder in folders for name, measure in head_columns(folder).MEASURES.items()}


def definitions(folders: Iterable[str]) -> dict[str, dict[str, str]]:
    """column -> {"means": what it is, "page": the page of docs/ that says more}, of measures and of what is shown."""
    found: dict[str, dict[str, str]] = {}
    for told in map(head_columns, folders):
        found |= {name: {"means": means, "page": told.PAGE} for name, means in told.DEFINITIONS.items()}
    return found


def analysis_of(folders: Iterable[str]) -> dict[str, str]:
    """column of the table heads that is a measure -> the analysis it comes from."""
    return {name: folder for folder in folders for name in head_columns(folder).MEASURES}
