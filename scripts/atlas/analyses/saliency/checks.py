"""Checks of analyses.saliency, analyses.span_saliency and their figures that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import first_of
from atlas.config.problems import nearest


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Flows between spans have names of their own, and two ends or none."""
    if not where.endswith(".span_saliency"):
        return
    flows = block["flows"]
    names = [flow["name"] for flow in flows]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"{where}.flows: {name} stands there twice; give each flow a name of its own."
    for flow in flows:
        ends = [end for end in ("from", "to") if end in flow]
        if flow.get("rest") and ends:
            yield f"{where}.flows: {flow['name']} has rest and `{ends[0]}`; keep one of them, rest has all other pairs."
        elif not flow.get("rest") and len(ends) < 2:
            yield f"{where}.flows: {flow['name']} needs `from` and `to`, or rest: true."
    rest = [flow["name"] for flow in flows if flow.get("rest")]
    if len(rest) > 1:
        yield f"{where}.flows: {' and '.join(rest)} are both the rest; there is one rest of all pairs."


def unused(name: str, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The probe, where no loss is of it."""
    if name == "saliency" and block["loss"] == ["answer_nll"]:
        yield "probe", "no loss but answer_nll is asked for"


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """The loss, or the flows, of a figure are among those that the analysis computes."""
    if figure["plot"] == "span_saliency":
        known = [flow["name"] for flow in config["analyses"]["span_saliency"]["flows"]]
        for name in figure["flows"] or ():
            if name not in known:
                yield f"{where}.flows: {name!r} is not among analyses.span_saliency.flows; {nearest(name, known)}"
        yield from _below_zero(where, figure)
        return
    block = config["analyses"]["saliency"]
    if "loss" in figure:
        yield from first_of(where, figure, "loss", "saliency.loss", block)
    figure["confidence"] = block["confidence"]


def _below_zero(where: str, figure: dict[str, Any]) -> Iterator[str]:
    """Limits and ticks that a logarithmic axis has not."""
    for name in ("ylim", "yticks") if figure["scale"] == "log" else ():
        given = figure[name]
        for numbers in given.values() if isinstance(given, dict) else [given]:
            if wrong := [number for number in numbers or () if number <= 0]:
                yield (
                    f"{where}.{name}: {wrong[0]:g} has no place on a logarithmic axis; give numbers above 0, or scale: "
                    "linear."
                )
