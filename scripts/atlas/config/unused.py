"""Options that a configuration sets and nothing reads: each is named, with why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config import checks
from atlas.config.by_model import block_of
from atlas.config.defaults import default_of

Config = dict[str, Any]


def unused_notes(config: Config) -> Iterator[str]:
    """A note for each option that is not as shipped and that others of its block leave without a use, also of a model's
    own options; expects a configuration whose models are resolved, with what each model is given (`given_options`)."""
    for name, block in config["analyses"].items():
        yield from _notes(name, f"analyses.{name}", block, set(block))
        for model in block["models"]:
            if own := (config["models"].get(model, {}).get("given_options") or {}).get(name):
                yield from _notes(name, f"models.{model}.options.{name}", block_of(name, model, config), set(own))


def _notes(name: str, where: str, block: Config, given: set[str]) -> Iterator[str]:
    """given: the options that are said here."""
    for option, reason in checks.unused(name, block):
        first, _, inner = option.partition(".")
        value, usual = block[first], default_of(name, first)
        if inner:
            value, usual = value[inner], usual[inner]
        if first in given and value != usual:
            yield f"{where}.{option} is not used: {reason}."
