"""Which models a model is compared with: its control, and others of its family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Models = Mapping[str, Any]
# A model is smaller than another from this share of its size down: a few added tokens make no other size.
SMALLER = 0.8


def relatives(model: str, models: Models) -> dict[str, str]:
    """{relative: key} among `models`, the entries of those that an analysis covers, in their order.

    control: the first made of it. smaller: the next smaller of its family and generation, of at most SMALLER its size.
    older: of the generation before in its family, the one nearest in size (ratio). sibling: another of its family, the
    nearest in size.
    A control has no family: what it is compared with is what it was made of. Models without a size have no other
    relatives than controls.
    """
    own = models[model]
    found = {"control": next((key for key, entry in models.items() if _control_of(entry) == model), None)}
    size = size_of(own)
    sizes = {
        key: size_of(entry)
        for key, entry in models.items()
        if key != model and own["family"] is not None and entry["family"] == own["family"] and size_of(entry) > 0
    }
    if size > 0 and sizes:
        apart = {key: abs(math.log(other / size)) for key, other in sizes.items()}
        smaller = {
            key: other
            for key, other in sizes.items()
            if other <= SMALLER * size and models[key]["generation"] == own["generation"]
        }
        older = _generation_before(own["generation"], {key: models[key]["generation"] for key in sizes})
        found["smaller"] = max(smaller, key=smaller.__getitem__, default=None)
        found["older"] = min(older, key=apart.__getitem__, default=None)
        found["sibling"] = min(apart, key=apart.__getitem__)
    return {name: key for name, key in found.items() if key is not None}


def size_of(entry: Mapping[str, Any]) -> float:
    """The size that models of a family are ordered by, in billions of parameters; 0 where neither it nor their number
    is said."""
    return float(entry["size"] or (entry["parameters"] or 0) / 1e9)


def repo_of(entry: Mapping[str, Any]) -> str:
    """The hub's name of a model: `published_as`, or that of whichever source has one; empty where none does."""
    if entry["published_as"] is not None:
        return str(entry["published_as"])
    sources = entry["source"] if isinstance(entry["source"], list) else [entry["source"]]
    return next((source["hub"]["repo"] for source in sources if "hub" in source), "")


def _control_of(entry: Mapping[str, Any]) -> str | None:
    source = entry["source"]
    return source["control"]["of"] if "control" in source else None


def _generation_before(own: float | None, generations: Mapping[str, float | None]) -> list[str]:
    """Those of the latest generation that is before `own`."""
    before = {key: value for key, value in generations.items() if own is not None and value is not None and value < own}
    return [key for key, value in before.items() if value == max(v for v in before.values() if v is not None)]
