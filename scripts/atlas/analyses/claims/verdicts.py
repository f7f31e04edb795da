"""From measured values to verdicts: intervals against thresholds, corrected for how many claims were tested."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy.stats import false_discovery_control

if TYPE_CHECKING:
    from atlas.analyses.claims.measured import Measured

HOLDS, FAILS, OPEN, NONE = "holds", "does not hold", "undecided", "not applicable"
VERDICTS = (HOLDS, FAILS, OPEN, NONE)


@dataclass(frozen=True)
class Rule:
    """Where a value must lie for a claim to hold: above or below a threshold, inside or outside of two."""

    direction: str
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Rule:
        """From {above: 0}, {below: 1}, {inside: [a, b]} or {outside: [a, b]}."""
        ((direction, bounds),) = said.items()
        return cls(direction, tuple(map(float, bounds if isinstance(bounds, list) else [bounds])))

    @property
    def words(self) -> str:
        """The rule in words: `above 0`, `outside -0.05 to 0.05`."""
        return f"{self.direction} {' to '.join(f'{bound:g}' for bound in self.thresholds)}"

    def true_of(self, value: float) -> bool:
        """Whether a claim with this rule is true of an exact value; on a threshold it is not."""
        first, last = self.thresholds[0], self.thresholds[-1]
        if self.direction == "above":
            return value > first
        if self.direction == "below":
            return value < first
        return first < value < last if self.direction == "inside" else not first <= value <= last

    def covered(self, low: float, high: float) -> bool:
        """Whether the interval covers a threshold, bounds included."""
        return any(low <= bound <= high for bound in self.thresholds)

    def p(self, measured: Measured) -> float:
        """The largest p value of the thresholds: all must be excluded for a verdict."""
        return max(measured.p(bound) for bound in self.thresholds)


@dataclass(frozen=True)
class Verdict:
    """verdict: one of VERDICTS; reason: why it is not decided; needed: how many samples would decide it."""

    verdict: str
    reason: str
    needed: int | None = None


def p_of(rule: Rule, measured: Measured) -> float:
    """The p value that the verdict rests on: where the claim would hold, also that of its further test."""
    p = rule.p(measured)
    return max(p, measured.also) if rule.true_of(measured.value) else p


def decidable(measured: Measured, minimum: int) -> bool:
    """Whether the interval may decide; what may not is no test either, and others are not corrected for it."""
    return not (measured.open or math.isnan(measured.low) or math.isnan(measured.high) or measured.n < minimum)


def corrected(p: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg q of p values without NaN."""
    return [float(q) for q in false_discovery_control(p)] if p else []


def decide(rule: Rule, measured: Measured, q: float, tests: int, *, confidence: float, minimum: int) -> Verdict:
    """The verdict of one measured value.

    q: its corrected p among `tests`. Decided where the interval and the value lie on one side of every threshold and
    q <= 1 - confidence.
    minimum: samples below which nothing is decided, since a bootstrap of a handful of samples is too narrow.
    """
    if measured.open:
        return Verdict(OPEN, measured.open)
    if math.isnan(measured.low) or math.isnan(measured.high):
        return Verdict(OPEN, f"n = {measured.n} {measured.unit} give no interval", minimum)
    needed = samples_needed(rule, measured)
    if measured.n < minimum:
        return Verdict(OPEN, f"n = {measured.n} {measured.unit} are fewer than {minimum}", max(minimum, needed or 0))
    if rule.covered(measured.low, measured.high):
        about = f"about {needed} {measured.unit} would be needed" if needed else "the value lies on it"
        return Verdict(OPEN, f"the interval covers the threshold ({rule.words}); {about}", needed)
    if rule.covered(min(measured.low, measured.value), max(measured.high, measured.value)):
        # A statistic that resampling shifts, such as an overlap of noisy orders: value and interval contradict.
        return Verdict(OPEN, f"the value lies outside its interval, on another side of the threshold ({rule.words})")
    true = rule.true_of(measured.value)
    if q > 1 - confidence:
        if true and measured.also >= rule.p(measured):
            return Verdict(OPEN, f"its further test does not reject (p = {measured.also:.2g}, q = {q:.2g})")
        return Verdict(OPEN, f"q = {q:.2g} after correction for {tests} tests")
    return Verdict(HOLDS if true else FAILS, "")


def samples_needed(rule: Rule, measured: Measured) -> int | None:
    """How many samples would make the interval end at the nearest threshold, if the value stays and the interval
    shrinks with the root of their number; None where the value lies on the threshold or nothing is sampled."""
    nearest = min(rule.thresholds, key=lambda bound: abs(measured.value - bound))
    distance = abs(measured.value - nearest)
    half = measured.high - measured.value if nearest > measured.value else measured.value - measured.low
    if not distance > 0 or not measured.n or math.isnan(half):
        return None
    ratio = (half / distance) ** 2 * measured.n
    return math.ceil(ratio) + 1 if ratio < 1e9 else None


def joined(verdicts: Iterable[str]) -> str:
    """The verdict of a claim from those of the parts that decide it: it holds where every part was put and holds."""
    said = list(verdicts)
    if set(said) <= {NONE}:
        return NONE
    if FAILS in said:
        return FAILS
    return HOLDS if set(said) == {HOLDS} else OPEN
