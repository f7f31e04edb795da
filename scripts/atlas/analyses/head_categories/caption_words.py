"""What captions say of what stands for a source, and of the prompts that ask for a relation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atlas.plots.types import Document

# By models/weights.py, in the words of the caption.
STATES = {
    "first_mlp": "yes",
    "embedding": "no",
    "routed": "by the experts that its router chooses for the token",
    "expert_mean": "by all of its experts in equal parts",
}


def first_state(document: Document) -> str:
    """What stands for a source token above layer 0, by the provenance of the map."""
    return f"embeddings pass the first MLP above layer 0: {STATES[document['options']['first_state']]}"


def one_line(text: str) -> str:
    """`text` without line breaks and runs of white space."""
    return " ".join(text.split())


def relation_prompts(asked: Mapping[str, Any], relations: Iterable[str]) -> str:
    """The templates that `relations` are asked for by, of analyses.relation_effect, those of their own last."""
    templates, relations = asked["templates"], list(relations)
    own = {name: one_line(templates[name]) for name in relations if name in templates}
    usual = [one_line(templates["default"])] if len(own) < len(relations) or not own else []
    told_of = "; ".join([*usual, *(f"{name}: {text}" for name, text in own.items())])
    return f"{told_of}{examples(asked, [*usual, *own.values()])}"


def examples(asked: Mapping[str, Any], templates: Iterable[str]) -> str:
    """How many pairs stand for {examples}, and how they are written; nothing where no template has them."""
    if not any("{examples}" in template for template in templates):
        return ""
    pairs = "1 pair" if asked["shots"] == 1 else f"{asked['shots']} pairs"
    return f"; in place of {{examples}} {pairs} as {one_line(asked['example'])}"
