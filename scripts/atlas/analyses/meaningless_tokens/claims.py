"""The claims of Shi et al. 2025 (arXiv 2510.01032, Fig. 18), measured on the stored column sums of every prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.analyses.claims.measured import Measured, NotApplicable, Undecided, of_replicates
from atlas.analyses.meaningless_tokens.metrics import prompt_averages, question_means
from atlas.statistics.intervals import bootstrap_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from atlas.analyses.claims.evidence import Evidence
    from atlas.analyses.types import Arrays

    Heads = Float[np.ndarray, "prompts layers heads"]
    Places = Mapping[str, tuple[slice, slice | list[int]]]

AROUND = 10  # tokens on either side of the span
SOURCE = "meta-llama/Llama-3.1-8B-Instruct"
_EVERY: Places = {"all heads": (slice(None), slice(None)), "first layer": (slice(0, 1), slice(None))}
_DRAWN: Places = {"heads of the source": (slice(0, 1), [19, 24, 25])}


def changes_attention(evidence: Evidence) -> dict[str, Measured | Exception]:
    """D1."""
    arrays, reading = evidence.arrays("attention"), evidence.options["reading"]
    above, below = (question_means(arrays, condition, reading) for condition in ("with", "without"))
    parts = _ratios(evidence, above, below, {**_EVERY, **(_DRAWN if evidence.repo == SOURCE else {})}, minus=1)
    if evidence.repo != SOURCE:
        parts["heads of the source"] = NotApplicable(f"they are heads of {SOURCE}")
    return parts


def little_inside(evidence: Evidence) -> dict[str, Measured | Exception]:
    """D2."""
    inside, before, behind = regions(evidence.arrays("attention"), evidence.options["reading"])
    around = np.where(np.isnan(before), behind, (before + behind) / 2)  # without a token before it, those behind it
    return _ratios(evidence, inside, around, _EVERY)


def recovers(evidence: Evidence) -> dict[str, Measured | Exception]:
    """D3."""
    inside, _, behind = regions(evidence.arrays("attention"), evidence.options["reading"])
    return _ratios(evidence, behind, inside, _EVERY)


def regions(arrays: Arrays, reading: str) -> tuple[Heads, Heads, Heads]:
    """Mean avg per token inside the span, of up to AROUND tokens before it, and of as many behind it.

    Each (prompts, layers, heads); before it the first token of the sequence does not count, and where that is the only
    one there is NaN. The last token of a sequence has no avg.
    """
    inside, before, behind = [], [], []
    for number, average in enumerate(prompt_averages(arrays, "with", reading)):
        start = int(arrays["prefix"][number])
        end = start + int(arrays["span"][number])
        inside.append(average[start:end].mean(0))
        early = average[max(1, start - AROUND) : start]
        before.append(early.mean(0) if len(early) else np.full(average.shape[1:], np.nan))
        late = average[end : min(end + AROUND, len(average) - 1)]
        if not len(late):
            raise Undecided("a prompt has no token behind its span that later tokens look at")
        behind.append(late.mean(0))
    return np.stack(inside), np.stack(before), np.stack(behind)


def _ratios(
    evidence: Evidence, above: Heads, below: Heads, places: Places, minus: float = 0
) -> dict[str, Measured | Exception]:
    """Sum of `above` over that of `below` among the heads of each place, minus a constant, over resampled prompts.

    Undecided where that of `below` is 0 in some draw: heads that all look at one other token leave nothing to compare.
    Layers without attention do not count, and of a first layer without it nothing is said.
    """
    weights = bootstrap_weights(len(above), evidence.draws, evidence.seed)
    attending = ~np.isnan(below).all((0, 2))
    parts: dict[str, Measured | Exception] = {}
    for name, (layers, heads) in places.items():
        # Sums over heads of each prompt, and over prompts.
        if not attending[layers].any():
            parts[name] = NotApplicable("the model's first layer has no attention")
            continue
        first, second = (found[:, layers][:, attending[layers]][:, :, heads] for found in (above, below))
        top, bottom = first.sum((1, 2)), second.sum((1, 2))
        compared = weights @ bottom
        if not (compared > 0).all():
            parts[name] = Undecided(
                f"{name}: what it is compared with has no attention in some bootstrap draws, so there is no ratio"
            )
            continue
        heads_above = (first.mean(0) > second.mean(0)).mean()
        parts[name] = of_replicates(
            top.sum() / bottom.sum() - minus,
            (weights @ top) / compared - minus,
            confidence=evidence.confidence,
            n=len(above),
            unit="prompts",
            effect=float(heads_above),
            effect_kind="share of heads where the first is the larger",
        )
    return parts


MEASURES = {"D1": changes_attention, "D2": little_inside, "D3": recovers}
