"""Every option as its home says it: options.yaml of an analysis's folder, plot_*.yaml beside a plot's module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from atlas.analyses.registry import ANALYSES, FOLDER, HEAD_ANALYSES, PLOT_FOLDERS

FOLDERS = Path(__file__).resolve().parents[2] / "analyses"
NOTHING = object()  # the default of an option that must be given
# What may stand under `each:`: one inner option for each of these names.
_NAMES = {"head_analyses": HEAD_ANALYSES}
# What an option says beside its schema.
_WORDS = ("default", "shown", "why", "docs", "unshown", "for_all")


@dataclass(frozen=True)
class Option:
    """One option.

    schema: its JSON-schema keywords, without those of inner options. why: the comment above it in config.yaml. docs: a
    sentence of docs/ alone. shown: its value in config.yaml. unshown: config.yaml's blocks do not show it. for_all: why
    no model may have it otherwise (empty: one may).
    """

    name: str
    schema: Mapping[str, Any]
    default: Any = NOTHING
    shown: Any = NOTHING
    why: str = ""
    docs: str = ""
    unshown: bool = False
    for_all: str = ""
    inner: tuple[Option, ...] = ()

    @property
    def filled(self) -> Any:
        """The default with those of inner options; NOTHING if it must be given."""
        if self.default == {} and self.inner:
            return {option.name: option.filled for option in self.inner}
        return self.default

    @property
    def value(self) -> Any:
        """What config.yaml shows."""
        return self.filled if self.shown is NOTHING else self.shown


@dataclass(frozen=True)
class Block:
    """The options of an analysis or of a plot; required: those without a default; figures: of the default run.

    kind: of the analysis's data sets; None for a plot, and for an analysis that joins others.
    """

    name: str
    options: tuple[Option, ...]
    why: str = ""
    required: tuple[str, ...] = ()
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kind: str | None = None


def analysis_blocks() -> list[Block]:
    """The blocks of `analyses:` in the order of config.yaml."""
    blocks = []
    for name in ANALYSES:
        said = _read(FOLDERS / FOLDER[name] / "options.yaml")[name]
        kind = ANALYSES[name].kind
        options = _options(said["options"], shared()["analyses"], kind)
        blocks.append(Block(name, options, said["why"], tuple(said.get("required", ())), kind=kind))
    return blocks


def plot_blocks() -> list[Block]:
    """What a figure of each plot may say, in the order of config.yaml."""
    blocks = []
    for plot, folder in PLOT_FOLDERS.items():
        said = _read(FOLDERS / folder / f"plot_{plot}.yaml")
        options = _options({"plot": None, "labels": None, **said["options"]}, shared()["figures"], None)
        blocks.append(Block(plot, options, said.get("why", ""), figures=said["figures"]))
    return blocks


def shared() -> dict[str, Any]:
    """Options that several analyses or plots have."""
    return _read(Path(__file__).with_name("shared.yaml"))


def _options(said: Mapping[str, Any], common: Mapping[str, Any], kind: str | None) -> tuple[Option, ...]:
    unshown = shared()["unshown"]
    options = (_option(name, own or {}, common.get(name, {}), name in unshown) for name, own in said.items())
    return tuple(replace(option, docs=option.docs.replace("{kind}", str(kind))) for option in options)


def _option(name: str, own: Mapping[str, Any], common: Mapping[str, Any], unshown: bool = False) -> Option:
    if "why" in own:  # a comment of its own makes the common sentence of docs/ superfluous
        common = {key: value for key, value in common.items() if key != "docs"}
    if not own.keys().isdisjoint(("$ref", "type", "anyOf")):  # another type: nothing of the shared one holds
        common = {key: value for key, value in common.items() if key in ("docs", "default", "for_all")}
    said = {**common, **own}
    for names, rule in said.pop("each", {}).items():
        said["properties"] = dict.fromkeys(_NAMES[names], rule)
    inner = tuple(_option(key, rule, {}) for key, rule in said.pop("properties", {}).items())
    words = {key: said.pop(key) for key in _WORDS if key in said}
    return Option(name, said, inner=inner, **{"unshown": unshown, **words})


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
