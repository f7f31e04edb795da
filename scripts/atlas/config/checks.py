"""Where the checks of each analysis stand: checks.py in its folder, which may have any of the functions below."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from atlas.analyses.registry import FOLDER

Config = dict[str, Any]


def problems(name: str, where: str, block: Config, config: Config) -> Iterable[str]:
    """Sentences on what is wrong in a block of options, whose models and data sets are resolved; fills in what is open.

    where: "analyses.{name}", or "models.{key}.options.{name}" for the block as that model has it.
    """
    return _call(name, "problems", where, block, config)


def figure_problems(analysis: str, where: str, figure: Config, config: Config) -> Iterable[str]:
    """The same of a figure that draws the analysis; where: "figures.{its key}"."""
    return _call(analysis, "figure_problems", where, figure, config)


def unused(name: str, block: Config) -> Iterable[tuple[str, str]]:
    """(option, why nothing reads it) of a block, as its other options make it; `option.inner` for one within one."""
    return _call(name, "unused", name, block)


def without(name: str, block: Config, off: Iterable[str]) -> None:
    """Take out of a block what it says of analyses that are switched off."""
    _call(name, "without", block, off)


def figure_without(analysis: str, figure: Config, off: Iterable[str]) -> Iterable[str]:
    """The same of a figure; sentences on what that was."""
    return _call(analysis, "figure_without", figure, off)


def makes(name: str, table: str, block: Config, dataset: str) -> bool:
    """Whether an analysis makes this table of its own of a model that has this block, and of this data set."""
    found = _function(name, "makes")
    return found is None or found(table, block, dataset)


def panels(analysis: str | None, option: str, figure: Config) -> list[str]:
    """The models that an option of a figure, given by model, may name."""
    found = _function(analysis, "panels") if analysis else None
    return found(option, figure) if found else figure["models"]


def _call(name: str, function: str, *arguments: Any) -> Iterable[Any]:
    found = _function(name, function)
    return found(*arguments) if found else ()


def _function(name: str, function: str) -> Callable[..., Any] | None:
    module = f"atlas.analyses.{FOLDER[name]}.checks"
    return getattr(import_module(module), function, None) if find_spec(module) else None
