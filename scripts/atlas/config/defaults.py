"""What an option is where nothing is said of it, from the files that define it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from atlas import yaml_text
from atlas.analyses.registry import FOLDER, PLOT_FOLDERS

_ANALYSES = Path(__file__).parents[1] / "analyses"


def default_of(analysis: str, option: str) -> Any:
    """Of an option of an analysis, as its options.yaml has it; of one with options of its own, with theirs."""
    found = _read(_ANALYSES / FOLDER[analysis] / "options.yaml")[analysis]["options"][option]
    inner = {name: one["default"] for name, one in found.get("properties", {}).items() if "default" in one}
    return {**inner, **found["default"]} if inner else found["default"]


def default_of_plot(plot: str, option: str) -> Any:
    """Of an option of a plot, as its plot_PLOT.yaml has it."""
    return _read(_ANALYSES / PLOT_FOLDERS[plot] / f"plot_{plot}.yaml")["options"][option]["default"]


@cache
def _read(file: Path) -> dict[str, Any]:
    return yaml_text.load(file.read_text(encoding="utf-8"))
