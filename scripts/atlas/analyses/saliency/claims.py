"""The claims of Luo et al. 2026 (arXiv 2601.07422, Fig. 1), measured on the tables of saliency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.analyses.claims.measured import Measured, NotApplicable, Undecided, of_interval, of_replicates
from atlas.statistics.intervals import bootstrap_weights
from atlas.statistics.resampling import mover, weighted_mode, weighted_quantile

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float

    from atlas.analyses.claims.evidence import Evidence

    Values = Float[np.ndarray, " answers"]

ANSWER, ALL, RANDOM = "question_to_answer", "question_to_all", "random_to_answer"
_UNIT = "answers"
_PART_OF = "partly: under reduction `sum` the answer's tokens are among all later tokens"


def flows(evidence: Evidence, relative: str = "") -> pd.DataFrame:
    """Saliency of each answer under the first loss: columns by flow, `weight`, and `reduction`."""
    frame, loss = evidence.frame("saliency", relative), evidence.options["loss"][0]
    frame = frame[frame["loss"] == loss]
    if frame.empty:
        raise Undecided(f"there is no saliency under {loss}, because no probe could be trained on so few right answers")
    wide = frame.pivot(index="sample", columns="flow", values="saliency")
    about = frame.drop_duplicates("sample").set_index("sample")
    return wide.join(about[["weight", "reduction"]])


def lower_and_sharper(evidence: Evidence) -> dict[str, Measured]:
    """A1."""
    found = flows(evidence)
    weights, own = _drawn(found, evidence), found["weight"].to_numpy(float)
    answer, everything = (found[flow].to_numpy(float) for flow in (ANSWER, ALL))
    size = _range(everything, own[None])[0]
    parts = {}
    for name, statistic in (
        ("peak", lambda values, weights: weighted_mode(values, weights, own)),
        ("spread", _range),
    ):
        value = (statistic(answer, own[None]) - statistic(everything, own[None]))[0]
        parts[name] = of_replicates(
            value,
            statistic(answer, weights) - statistic(everything, weights),
            confidence=evidence.confidence,
            n=len(found),
            unit=_UNIT,
            effect=value / size if size > 0 else np.nan,
            effect_kind="of the interquartile range of the flow to everything",
            by_construction=_PART_OF if (found["reduction"] == "sum").all() else "",
        )
    return parts


def a_tenth_of_the_smaller(evidence: Evidence) -> dict[str, Measured]:
    """A2."""
    smaller = evidence.relative("smaller")
    own, other = flows(evidence), flows(evidence, "smaller")
    parts = {}
    for name, flow in (("to the answer", ANSWER), ("to everything", ALL)):
        values, replicates = [], []
        for number, found in enumerate((own, other)):  # other answers: drawn apart
            numbers, weight = found[flow].to_numpy(float), found["weight"].to_numpy(float)
            values.append(weighted_quantile(numbers, weight[None], 0.5)[0])
            replicates.append(weighted_quantile(numbers, _drawn(found, evidence, number), 0.5))
        if not (replicates[1] > 0).all():
            raise Undecided(f"the median saliency of {smaller} is 0 in some bootstrap draws, so there is no ratio")
        ratio = values[0] / values[1]
        parts[name] = of_replicates(
            ratio,
            replicates[0] / replicates[1],
            confidence=evidence.confidence,
            n=min(len(own), len(other)),
            unit=_UNIT,
            effect=float(np.log10(ratio)) if ratio > 0 else np.nan,
            effect_kind="log10 of the ratio",
            partner=smaller,
        )
    return parts


def two_groups(evidence: Evidence) -> dict[str, Measured | Exception]:
    """A3."""
    mixture, loss = evidence.frame("saliency_mixture"), evidence.options["loss"][0]
    mixture = mixture[(mixture["loss"] == loss) & (mixture["flow"] == ANSWER)].set_index("group")
    parts: dict[str, Measured | Exception] = {}
    for name, group in (("right answers", "correct"), ("wrong answers", "wrong")):
        if group not in mixture.index:
            parts[name] = Undecided(f"there are no {name} under {loss}")
            continue
        row = mixture.loc[group]
        if np.isnan(row["separation_low"]):
            parts[name] = Undecided(f"two Gaussians cannot be fitted to {row['samples']} answers ({row['fit']})")
            continue
        parts[name] = of_interval(
            row["separation"],
            row["separation_low"],
            row["separation_high"],
            confidence=evidence.confidence,
            own=evidence.options["confidence"],
            n=int(row["samples"]),
            unit=_UNIT,
            also=float(row["dip_p"]),
            effect=float(row["dip"]),
            effect_kind="Hartigan's dip",
        )
    return parts


def probe_reads_truth(evidence: Evidence) -> dict[str, Measured | Exception]:
    """A4."""
    own = _nested(evidence)
    more: dict[str, Any] = {"confidence": evidence.confidence, "own": evidence.options["confidence"], "n": own[3],
                            "unit": "answers of the rarer kind"}  # fmt: skip
    chance = of_interval(*own[:3], **more, effect=2 * own[0] - 1, effect_kind="Somers' D")
    parts: dict[str, Measured | Exception] = {"above chance": chance}
    try:
        control = evidence.relative("control")
        against = mover(own[:3], _nested(evidence, "control")[:3])
        parts["above the control"] = of_interval(
            *against, **more, effect=against[0], effect_kind="difference of AUROC", partner=control
        )
    except (NotApplicable, Undecided) as missing:
        parts["above the control"] = missing
    return parts


def exact_tokens_carry_more(evidence: Evidence) -> dict[str, Measured]:
    """A5."""
    found = flows(evidence)
    exact, random, weight = (found[name].to_numpy(float) for name in (ANSWER, RANDOM, "weight"))
    wins, weights = np.where(exact == random, 0.5, exact > random), _drawn(found, evidence)
    mean = weight @ random
    return {
        "answers": of_replicates(
            weight @ wins / weight.sum(),
            weights @ wins / weights.sum(1),
            confidence=evidence.confidence,
            n=len(found),
            unit=_UNIT,
            effect=weight @ exact / mean if mean > 0 else np.nan,
            effect_kind="ratio of the means",
        )
    }


def _nested(evidence: Evidence, relative: str = "") -> tuple[float, float, float, int]:
    """(nested AUROC, low, high, answers of the rarer kind)."""
    row = evidence.frame("probe_auroc", relative).iloc[0]
    if np.isnan(row["nested_auroc"]):
        raise Undecided(f"no probe could be trained: {row['correct']} right and {row['wrong']} wrong answers")
    low, high = float(row["nested_low"]), float(row["nested_high"])
    return float(row["nested_auroc"]), low, high, int(min(row["correct"], row["wrong"]))


def _drawn(found: pd.DataFrame, evidence: Evidence, number: int = 0) -> Float[np.ndarray, "draws answers"]:
    """Sampling weights of bootstrap samples of the answers."""
    return bootstrap_weights(len(found), evidence.draws, evidence.seed + number) * found["weight"].to_numpy(float)


def _range(values: Values, weights: Float[np.ndarray, "draws answers"]) -> Float[np.ndarray, " draws"]:
    return weighted_quantile(values, weights, 0.75) - weighted_quantile(values, weights, 0.25)


MEASURES = {
    "A1": lower_and_sharper,
    "A2": a_tenth_of_the_smaller,
    "A3": two_groups,
    "A4": probe_reads_truth,
    "A5": exact_tokens_carry_more,
}
