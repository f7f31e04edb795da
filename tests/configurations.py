"""Configuration files merged in this process as Snakemake merges them."""

import copy
import functools
from pathlib import Path

import yaml
from snakemake.utils import update_config

from places import ROOT


def merged(*overlays):
    """config.yaml with each overlay, a file (Path) or its text, merged over what stands before it."""
    config = {}
    for overlay in (ROOT / "config.yaml", *overlays):
        update_config(config, _read(overlay) if isinstance(overlay, Path) else yaml.safe_load(overlay))
    return config


def _read(path):
    return copy.deepcopy(_parsed(path))


@functools.cache
def _parsed(path):
    return yaml.safe_load(path.read_text())
