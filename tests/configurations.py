"""Configurations as a run sees them: config.yaml, configs/tiny.yaml over it, and a change over both."""

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from atlas.config import checked
from places import ROOT

# What configs/tiny.yaml reads below tiny/, beside the model.
TINY_DATA = (
    "relations", "questions.jsonl", "passages.txt", "trivia.jsonl", "graph.jsonl", "collection.jsonl", "marked.jsonl"
)  # fmt: skip


def check(text: str = "{}", base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The checked configuration of `base` (by default `tiny()`) with a YAML text over it."""
    return checked(merged(tiny() if base is None else base, yaml.safe_load(text)), Path(_place().name))


@cache
def tiny() -> dict[str, Any]:
    """configs/tiny.yaml over config.yaml; not to be changed."""
    return overlaid(ROOT / "configs" / "tiny.yaml")


def merged(*configs: dict[str, Any]) -> dict[str, Any]:
    """Several files as Snakemake merges them: mappings key by key, everything else is replaced."""
    whole: dict[str, Any] = {}
    for config in configs:
        update_config(whole, copy.deepcopy(config))
    return whole


def overlaid(*overlays: Path | str) -> dict[str, Any]:
    """config.yaml with each overlay, a file or its text, merged over what stands before it."""
    texts = (overlay.read_text() if isinstance(overlay, Path) else overlay for overlay in overlays)
    return merged(_default(), *map(yaml.safe_load, texts))


@cache
def _default() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    """A folder with the schema and with something at each path of the configurations."""
    folder = tempfile.TemporaryDirectory()
    for name in ("schemas", "data"):
        Path(folder.name, name).symlink_to(ROOT / name)
    for name in ("model", *TINY_DATA):
        Path(folder.name, "tiny", name).mkdir(parents=True)
    return folder
