"""The claims of an analysis as its claims.yaml says them, and the published values beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from atlas import yaml_text

FOLDERS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """One measured quantity of a claim. measure: what it is. holds: where it must lie, as Rule.of takes it.
    decides: whether the claim's verdict rests on it."""

    name: str
    measure: str
    holds: Mapping[str, Any]
    decides: bool = True


@dataclass(frozen=True)
class Claim:
    """One claim. needs: a relative or the like without which it cannot be tested, in words. traps: what fools it."""

    id: str
    analysis: str
    source: str
    says: str
    traps: str
    parts: tuple[Part, ...]
    needs: str = ""


@dataclass(frozen=True)
class Published:
    """A value that a source gives for one model, by the hub's name of it.

    Measured as the value of a claim's part, or by the function `quantity` of claims.py with `about`. dataset: the only
    one that it is about (empty: any). tolerance, why: how far a good replication may be off, and why.
    """

    repo: str
    value: float
    tolerance: float
    why: str
    source: str
    analysis: str
    claim: str = ""
    part: str = ""
    quantity: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    dataset: str = ""


@dataclass(frozen=True)
class Said:
    """claims.yaml of one folder.

    reads: {analysis: what its claims look at: `tables`, stored arrays among `activations` and among `metrics`, and
    `options`; `of`: {relative: those that they look at of it as well}}.
    """

    reads: Mapping[str, Mapping[str, Any]]
    claims: tuple[Claim, ...]
    published: tuple[Published, ...]


@cache
def read(folder: str) -> Said:
    """What FOLDER/claims.yaml says."""
    text = yaml_text.load((FOLDERS / folder / "claims.yaml").read_text(encoding="utf-8"))
    claims = []
    for key, one in text["claims"].items():
        parts = tuple(Part(name, **said) for name, said in one.pop("parts").items())
        claims.append(Claim(key, parts=parts, **{"source": text["source"], **one}))
    known = {claim.id: claim.analysis for claim in claims}
    published = []
    for one in text.get("published", ()):
        values = one.pop("values")
        for about in values:
            merged = {"source": text["source"], **one, **about}
            merged.setdefault("analysis", known.get(merged.get("claim", ""), ""))
            published.append(Published(**merged))
    nothing: dict[str, Any] = {"tables": [], "activations": [], "metrics": [], "options": [], "of": {}}
    reads = {name: {**nothing, **kinds} for name, kinds in text["reads"].items()}
    return Said(reads, tuple(claims), tuple(published))


def has_claims(folder: str) -> bool:
    """Whether the analyses of a folder bring claims."""
    return (FOLDERS / folder / "claims.yaml").is_file()
