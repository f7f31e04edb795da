"""Checks of head categories, and of what starts from them, that a schema cannot make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import first_of


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """No k beyond the stored ranks; examples that say what completes them."""
    for relation, k in block.get("k", {}).items():
        if k > block["k_max"]:
            yield f"{where}.k.{relation}: {k} is beyond k_max = {block['k_max']}; raise k_max."
    if "example" in block:
        yield from _places(f"{where}.example", block["example"], ("source", "target"))
    templates = block.get("templates", {})
    named = templates.items() if isinstance(templates, dict) else enumerate(templates)
    for name, template in named:
        yield from _places(f"{where}.templates.{name}", template, ("source",), ("examples",))
        if "{examples}" in template and block["shots"] == 0:
            yield f"{where}.templates.{name}: {template!r} has {{examples}}, of which shots: 0 gives none; take it out."


def unused(name: str, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Options of what is not kept, not passed or not shown."""
    if name == "head_categories":
        if block["salient_tokens"] == 0:
            yield "salient_mapped", "salient_tokens is 0"
        if not block["first_mlp"]:
            yield "first_experts", "first_mlp is false"
        return
    templates = block["templates"]
    if not any("{examples}" in text for text in (templates.values() if isinstance(templates, dict) else templates)):
        for option in ("example", "shots"):
            yield option, "no template has {examples}"


def _places(where: str, text: str, once: tuple[str, ...], at_most_once: tuple[str, ...] = ()) -> Iterator[str]:
    """Each of `once` stands in a text once, and nothing else in braces that would stay there as it is."""
    found = re.findall(r"\{(\w*)\}", text)
    for name in once:
        if name not in found:
            yield f"{where}: {text!r} has no {{{name}}}; add it."
    for name in dict.fromkeys(found):
        if name not in (*once, *at_most_once):
            known = " and ".join(f"{{{one}}}" for one in (*once, *at_most_once))
            yield f"{where}: {text!r} has {{{name}}}, which nothing fills in; {known} are known."
        elif found.count(name) > 1:
            yield f"{where}: {text!r} has {{{name}}} more than once; one stands for the pair's word."


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """The set of heads that is shown is among those that are ablated."""
    if figure["plot"] == "relation_effect":
        yield from first_of(where, figure, "heads", "relation_effect.heads", config["analyses"]["relation_effect"])
