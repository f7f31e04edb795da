"""Checks of the joined table of heads and of its figures: whose columns it has, and which of them are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from atlas.analyses.heads.measures import analysis_of
from atlas.analyses.registry import HEAD_ANALYSES
from atlas.config.analyses import datasets_of, trained
from atlas.config.by_model import block_of
from atlas.config.defaults import default_of, default_of_plot
from atlas.config.problems import nearest

Config = dict[str, Any]

# measure -> the analysis it comes from
_OWNER = analysis_of(HEAD_ANALYSES)

# Measures with variants, {measure}_{variant}: the option of the analysis that lists the variants to compute.
_VARIANTS = {"alpha": "inputs", "ships": "ablations", "kl": "ablations"}


# analysis -> options of the explorer that say how much of it is listed
_LISTED = {"head_categories": ("relations", "salient"), "meaningless_tokens": ("curves", "min_prompts")}


def problems(where: str, block: Config, config: Config) -> Iterator[str]:
    """Problems of analyses.heads, once the analyses that it joins are resolved; fills in what is left open."""
    analyses = {key: config["analyses"][key] for key in HEAD_ANALYSES if key in config["analyses"]}
    if not analyses:
        yield f"{where}: it joins {', '.join(HEAD_ANALYSES)}, and none is in the configuration; add one."
        return
    covered = [key for key in config["models"] if any(key in other["models"] for other in analyses.values())]
    if block["models"] in ("all", "trained"):
        block["models"] = covered if block["models"] == "all" else trained(covered, config)
    for model in block["models"]:
        if model not in covered:
            yield f"{where}.models: no analysis of single heads covers {model!r}; {nearest(model, covered)}"
    yield from _datasets(block, analyses)
    # The variant of a measure: what the analysis computes first, or a named one that it computes.
    for option, analysis in (("rank", "safety_heads"), ("loss", "saliency")):
        computed = analyses.get(analysis, {}).get(option, [])
        if block[option] is None:
            block[option] = computed[0] if computed else None
        elif computed and block[option] not in computed:
            yield f"{where}.{option}: {block[option]} is not among analyses.{analysis}.{option}; add it there."
    yield from _metrics(block, analyses, config)


def figure_problems(where: str, figure: Config, config: Config) -> Iterator[str]:
    """The measures of a figure: those of the block, or listed ones that are computed."""
    if figure["plot"] == "explorer":
        yield from _salient(where, figure, config)
        config["notes"] += _unread(where, figure, config)
    block = config["analyses"]["heads"]
    if figure["metrics"] is None:
        figure["metrics"] = list(block["metrics"])
        return
    for metric in figure["metrics"]:
        reason = _not_computed(metric, config["analyses"])
        if reason:
            yield f"{where}.metrics: {metric!r} is not computed; {reason}."
        elif figure["plot"] == "head_overlap" and metric not in block["metrics"]:
            yield f"{where}.metrics: {metric!r} is not among analyses.heads.metrics; add it there."


def _salient(where: str, figure: Config, config: Config) -> Iterator[str]:
    """As many salient tokens as are kept of each head; a number of the user's own where none are is refused."""
    analysis, asked = config["analyses"].get("head_categories", {"models": []}), figure["salient"]
    own = asked != default_of_plot("explorer", "salient")
    none = []
    for model in figure["models"]:
        kept = block_of("head_categories", model, config) if model in analysis["models"] else {}
        if asked and kept.get("salient_tokens") == 0:
            none.append(model)
        for option, what in (("salient_tokens", "tokens"), ("salient_mapped", "tokens that each is mapped to")):
            if kept.get("salient_tokens") and asked > kept[option]:
                yield (
                    f"{where}.salient: {asked} {what} are to be listed of each head of {model}, but "
                    f"analyses.head_categories.{option} keeps {kept[option]}; raise {option}, or take salient: "
                    f"{kept[option]}."
                )
                break
    said = f"{', '.join(none)}: analyses.head_categories.salient_tokens is 0"
    if none and own:
        yield f"{where}.salient: {asked} tokens are to be listed, but none is kept of {said}; raise it, or salient: 0."
    elif none:
        config["notes"].append(f"{where}.salient lists nothing of {said}.")


def _unread(where: str, figure: Config, config: Config) -> Iterator[str]:
    """Notes on numbers of the user's own about analyses that no model of the page has."""
    for analysis, options in _LISTED.items():
        covered = config["analyses"].get(analysis, {"models": []})["models"]
        for option in options if not set(covered) & set(figure["models"]) else ():
            if figure[option] not in (0, default_of_plot("explorer", option)):
                yield f"{where}.{option} is not used: no model of it is in analyses.{analysis}."


def without(block: Config, off: Iterable[str]) -> None:
    """Drop data sets of analyses that are switched off (their measures are left out like all that is not there)."""
    if isinstance(block.get("datasets"), dict):
        block["datasets"] = {key: value for key, value in block["datasets"].items() if key not in off}


def figure_without(figure: Config, off: Iterable[str]) -> Iterator[str]:
    """Drop measures of analyses that are switched off; yields what they were."""
    if isinstance(figure.get("metrics"), list):
        gone = [metric for metric in figure["metrics"] if metric in _OWNER and _OWNER[metric] in off]
        figure["metrics"] = [metric for metric in figure["metrics"] if metric not in gone]
        if gone:
            yield f"metrics leaves out {', '.join(gone)}"


def _metrics(block: Config, analyses: Mapping[str, Config], config: Config) -> Iterator[str]:
    """Measures that nothing computes: one that was asked for is refused, one of the default list is left out."""
    reasons = {metric: reason for metric in block["metrics"] if (reason := _not_computed(metric, analyses))}
    if not reasons:
        return
    asked = block["metrics"] != default_of("heads", "metrics")
    for metric, reason in reasons.items():
        if asked and _OWNER[metric] in analyses:
            yield f"analyses.heads.metrics: {metric!r} is not computed; {reason}."
    block["metrics"] = [metric for metric in block["metrics"] if metric not in reasons]
    config["notes"].append(f"analyses.heads.metrics leaves out {', '.join(reasons)}: not computed here.")
    if len(block["metrics"]) < 2:
        left = ", ".join(block["metrics"]) or "none"
        yield (
            f"analyses.heads.metrics: pairs are compared, and of these measures {left} is computed; name others, or "
            "switch the analysis off too (heads: null)."
        )


def _not_computed(metric: str, analyses: Mapping[str, Config]) -> str | None:
    """Why the table heads has no such column, or None if it has."""
    analysis = _OWNER[metric]
    if analysis not in analyses:
        return f"analyses.{analysis} is not in the configuration"
    measure, _, variant = metric.partition("_")
    option = _VARIANTS.get(measure)
    if option and variant not in analyses[analysis][option]:
        return f"add {variant} to analyses.{analysis}.{option}"
    return None


def _datasets(block: Config, analyses: Mapping[str, Config]) -> Iterator[str]:
    """One data set for each analysis: the given one, or its first."""
    given, block["datasets"] = block["datasets"], {}
    for name, other in analyses.items():
        known = datasets_of(other)
        chosen = given.get(name) or known[0]
        if chosen not in known:
            yield f"analyses.heads.datasets.{name}: {chosen!r} is not among its data sets; {nearest(chosen, known)}"
        block["datasets"][name] = chosen
    for name, chosen in given.items():
        if chosen is not None and name not in analyses:
            yield f"analyses.heads.datasets.{name}: analyses.{name} is not in the configuration; add it or remove this."
