"""Checks of the block claims, and which models of a configuration belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import trained
from atlas.config.problems import nearest
from atlas.fetch.entries import made_as, made_of

Config = dict[str, Any]


def problems(where: str, block: Config, config: Config) -> Iterator[str]:
    """Problems of analyses.claims, once all others are resolved; models become those that any of them covers."""
    others = [other for name, other in config["analyses"].items() if name != "claims" and "models" in other]
    covered = [key for key in config["models"] if any(key in other["models"] for other in others)]
    if not covered:
        yield f"{where}: no analysis of the configuration covers any model; add one, or switch it off (claims: null)."
        return
    if block["models"] in ("all", "trained"):
        block["models"] = covered if block["models"] == "all" else trained(covered, config)
    for model in block["models"]:
        if model not in covered:
            yield f"{where}.models: no analysis covers {model!r}; {nearest(model, covered)}"
    for key, entry in config["models"].items():
        for option in ("size", "generation"):
            if entry[option] is not None and entry["family"] is None:
                yield f"models.{key}.{option}: it orders the models of one family; give models.{key}.family too."
        if entry["family"] is not None and made_of(entry["source"]):
            what = made_as(entry["source"])
            yield f"models.{key}.family: {what} has none, it is compared with what it is made of; take it out."
