"""The claims of Ko et al. 2024 (arXiv 2406.19502), measured on the tables mink and score_gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from atlas.analyses.claims.measured import Measured, NotApplicable, Undecided, of_replicates, of_share, single
from atlas.analyses.mink.score_gaps import ZERO_SHOT

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float

    from atlas.analyses.claims.evidence import Evidence

    Values = Float[np.ndarray, " questions"]

DEPTHS = (1, 2, 3)
NEAR = 0.25  # a gap of one point of the judge's scale
_UNIT = "questions"
_BASE = "the gaps of a control are those of its base"
_STAND_IN = "judged by the stand-in `reference`, whose scores are not those of a judge that reads"


def texts(evidence: Evidence, relative: str = "") -> pd.DataFrame:
    """Min-K% of the first text and the first K: columns question, depth, mink."""
    frame, options = evidence.frame("mink", relative), evidence.options
    chosen = (frame["text"] == options["texts"][0]) & (frame["k_percent"] == float(options["k_percent"][0]))
    return frame.loc[chosen, ["question", "depth", "mink"]].sort_values(["depth", "question"], kind="stable")


def grows_with_depth(evidence: Evidence) -> dict[str, Measured]:
    """B1."""
    values = _by_depth(texts(evidence))
    drawn = [found[_drawn(len(found), evidence, number)] for number, found in enumerate(values)]
    medians, replicates = [np.median(found) for found in values], [np.median(found, axis=1) for found in drawn]
    parts = {}
    for lower in (0, 1):
        upper = lower + 1
        greater = stats.mannwhitneyu(values[upper], values[lower]).statistic
        parts[f"D{upper + 1} - D{lower + 1}"] = of_replicates(
            medians[upper] - medians[lower],
            replicates[upper] - replicates[lower],
            confidence=evidence.confidence,
            n=min(len(values[lower]), len(values[upper])),
            unit=f"{_UNIT} of a depth",
            effect=2 * greater / (len(values[lower]) * len(values[upper])) - 1,
            effect_kind="Cliff's delta",
        )
    depths = np.repeat(DEPTHS, [len(found) for found in values])
    tau = _tau(depths, np.concatenate(values))
    taus = [_tau(depths, np.concatenate(one)) for one in zip(*drawn, strict=True)]
    parts["trend"] = of_replicates(
        tau, np.array(taus), confidence=evidence.confidence, n=min(map(len, values)), unit=f"{_UNIT} of a depth",
        effect=tau, effect_kind="Kendall's tau-b",
    )  # fmt: skip
    return parts


def larger_lies_lower(evidence: Evidence) -> dict[str, Measured]:
    """B2."""
    partner, both = evidence.relative("smaller"), _paired(evidence, "smaller")
    parts = {}
    for depth in DEPTHS:
        found = both[both["depth"] == depth]
        differences = (found["mink"] - found["mink_other"]).to_numpy()
        if not len(differences):
            raise Undecided(f"no question of depth {depth} is scored for both models")
        parts[f"D{depth}"] = of_replicates(
            np.median(differences),
            np.median(differences[_drawn(len(differences), evidence)], axis=1),
            confidence=evidence.confidence,
            n=len(differences),
            unit=_UNIT,
            effect=float((differences < 0).mean()),
            effect_kind="share of questions that lie lower",
            partner=partner,
        )
    return parts


def newer_spreads_less(evidence: Evidence) -> dict[str, Measured]:
    """B3."""
    partner, both = evidence.relative("older"), _paired(evidence, "older")
    parts = {}
    for depth in DEPTHS:
        pair = both.loc[both["depth"] == depth, ["mink", "mink_other"]].to_numpy()
        if not len(pair):
            raise Undecided(f"no question of depth {depth} is scored for both models")
        own, other = _range(pair, 0)
        drawn = _range(pair[_drawn(len(pair), evidence)], 1)  # (draws, 2): the same questions of both
        parts[f"D{depth}"] = of_replicates(
            own - other,
            drawn[:, 0] - drawn[:, 1],
            confidence=evidence.confidence,
            n=len(pair),
            unit=_UNIT,
            effect=own / other if other > 0 else np.nan,
            effect_kind="ratio of the interquartile ranges",
            partner=partner,
        )
    return parts


def gaps_near_zero(evidence: Evidence) -> dict[str, Measured]:
    """B4."""
    frame = evidence.frame("score_gap")
    gaps = frame["gap"].to_numpy(float)
    if not len(gaps):
        raise NotApplicable("no question has a score gap, as where the data set has no predecessors")
    found = int((np.abs(gaps) <= NEAR + 1e-12).sum())
    return {
        "gaps": of_share(
            found, len(gaps), confidence=evidence.confidence, unit="D3 questions", effect=float(np.median(gaps)),
            effect_kind="median gap", note=_note(evidence, frame),
        )
    }  # fmt: skip


def quarters_differ(evidence: Evidence) -> dict[str, Measured]:
    """B5."""
    frame = evidence.frame("score_gap")
    if frame.empty:
        raise NotApplicable("no question has a score gap, as where the data set has no predecessors")
    least, most = (frame.loc[frame["group"] == name, "gap"].to_numpy(float) for name in ("75%", "25%"))
    if min(len(least), len(most)) < 2:
        raise Undecided(f"{len(least)} and {len(most)} questions in the two quarters are too few")
    spread = np.sqrt((least.var(ddof=1) + most.var(ddof=1)) / 2)
    value = least.mean() - most.mean()
    drawn = [found[_drawn(len(found), evidence, number)].mean(1) for number, found in enumerate((least, most))]
    return {
        "groups": of_replicates(
            value, drawn[0] - drawn[1], confidence=evidence.confidence, n=min(len(least), len(most)),
            unit="questions of a quarter", effect=value / spread if spread > 0 else np.nan, effect_kind="Cohen's d",
            note=_note(evidence, frame),
        )
    }  # fmt: skip


def median(evidence: Evidence, *, depth: int) -> float:
    """Median Min-K% of one depth."""
    found = texts(evidence)
    return float(found.loc[found["depth"] == depth, "mink"].median())


def accuracy(evidence: Evidence, *, depth: int) -> float:
    """Mean judged score of one depth."""
    frame = _judged(evidence, "depth_accuracy")
    return single(frame.loc[frame["depth"] == depth, "score"], f"depth {depth}")


def discrepancy(evidence: Evidence, *, direction: str, depths: str) -> float:
    """Mean forward or backward discrepancy between two depths, or all."""
    frame = _judged(evidence, "discrepancy")
    rows = frame[(frame["direction"] == direction) & (frame["depths"] == depths)]
    return single(rows["value"], f"{direction} discrepancy of {depths}")


def _judged(evidence: Evidence, table: str) -> pd.DataFrame:
    """A table of judged zero-shot scores, unless the judge is the stand-in, whose scores mean something else."""
    frame = evidence.frame(table)
    if _by_stand_in(frame):
        raise NotApplicable(_STAND_IN)
    return frame[frame["prompt"] == ZERO_SHOT]


def _note(evidence: Evidence, gaps: pd.DataFrame) -> str:
    """What a reader of a claim about score gaps must be told of where they come from."""
    return "; ".join([_BASE] * evidence.is_control + [_STAND_IN] * _by_stand_in(gaps))


def _by_stand_in(frame: pd.DataFrame) -> bool:
    return bool((frame["judge"] == "reference").any())


def _by_depth(found: pd.DataFrame) -> list[Values]:
    values = [found.loc[found["depth"] == depth, "mink"].to_numpy() for depth in DEPTHS]
    for depth, of_depth in zip(DEPTHS, values, strict=True):
        if not len(of_depth):
            raise Undecided(f"there are no questions of depth {depth}")
    return values


def _tau(depths: Values, values: Values) -> float:
    """Kendall's tau-b of depth and value; 0 where all values are equal, which neither grow nor fall."""
    return 0.0 if (values == values[0]).all() else float(stats.kendalltau(depths, values).statistic)


def _paired(evidence: Evidence, relative: str) -> pd.DataFrame:
    """Questions that both models have, with the relative's value as `mink_other`."""
    return texts(evidence).merge(texts(evidence, relative), on=["question", "depth"], suffixes=("", "_other"))


def _drawn(size: int, evidence: Evidence, number: int = 0) -> np.ndarray:
    """(draws, size) indices of bootstrap samples."""
    return np.random.default_rng(evidence.seed + number).integers(0, size, (evidence.draws, size))


def _range(values: np.ndarray, axis: int) -> np.ndarray:
    low, high = np.percentile(values, [25, 75], axis=axis)
    return high - low


MEASURES = {
    "B1": grows_with_depth,
    "B2": larger_lies_lower,
    "B3": newer_spreads_less,
    "B4": gaps_near_zero,
    "B5": quarters_differ,
}
QUANTITIES = {"median": median, "accuracy": accuracy, "discrepancy": discrepancy}
