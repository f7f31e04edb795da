"""Configurations as a run sees them: config.yaml, configs/tiny.yaml over it, and a change over both."""

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from atlas.config import checked

ROOT = Path(__file__).resolve().parents[1]


def check(text: str = "{}", base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The checked configuration of `base` (by default `tiny()`) with a YAML text over it."""
    return checked(merged(tiny() if base is None else base, yaml.safe_load(text)), Path(_place().name))


@cache
def tiny() -> dict[str, Any]:
    """configs/tiny.yaml over config.yaml; not to be changed."""
    files = (ROOT / "config.yaml", ROOT / "configs" / "tiny.yaml")
    return merged(*(yaml.safe_load(file.read_text()) for file in files))


def merged(*configs: dict[str, Any]) -> dict[str, Any]:
    """What Snakemake makes of several files: mappings are merged, everything else is replaced."""
    whole: dict[str, Any] = {}
    for config in configs:
        for key, value in copy.deepcopy(config).items():
            held = whole.get(key)
            whole[key] = merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return whole


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    """A folder with the schema and with something at each path of configs/tiny.yaml."""
    folder = tempfile.TemporaryDirectory()
    Path(folder.name, "schemas").symlink_to(ROOT / "schemas")
    for name in ("model", "relations", "questions.jsonl", "passages.txt", "trivia.jsonl", "graph.jsonl"):
        Path(folder.name, "tiny", name).mkdir(parents=True)
    return folder
