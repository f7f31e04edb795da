"""From a measured value to a verdict: what an interval excludes, how p is corrected, how many samples are missing."""

import math

import numpy as np
import pytest
from scipy import stats

from atlas.analyses.claims.measured import Measured, of_interval, of_replicates, of_share
from atlas.analyses.claims.verdicts import Rule, corrected, decidable, decide, joined, p_of, samples_needed

HOW = {"confidence": 0.95, "minimum": 10}


def measured(value, low, high, n=50, **more):
    return of_interval(value, low, high, confidence=0.95, n=n, unit="heads", **more)


def said(rule, found, q=0.001, tests=7):
    return decide(Rule.of(rule), found, q, tests, **HOW)


@pytest.mark.parametrize(
    ("rule", "interval", "verdict"),
    [
        ({"above": 0}, (1, 0.5, 1.5), "holds"),
        ({"above": 0}, (-1, -1.5, -0.5), "does not hold"),
        ({"above": 0}, (0.2, -0.1, 0.5), "undecided"),
        ({"above": 0}, (0.2, 0, 0.5), "undecided"),  # an interval that ends on the threshold covers it
        ({"below": 1}, (0.5, 0.2, 0.8), "holds"),
        ({"below": 1}, (1.5, 1.2, 1.8), "does not hold"),
        ({"inside": [0.03, 0.3]}, (0.1, 0.05, 0.2), "holds"),
        ({"inside": [0.03, 0.3]}, (0.5, 0.4, 0.6), "does not hold"),
        ({"inside": [0.03, 0.3]}, (0.01, 0.005, 0.02), "does not hold"),
        ({"inside": [0.03, 0.3]}, (0.1, 0.05, 0.4), "undecided"),
        ({"outside": [-1, 1]}, (2, 1.5, 2.5), "holds"),
        ({"outside": [-1, 1]}, (-2, -2.5, -1.5), "holds"),
        ({"outside": [-1, 1]}, (0, -0.5, 0.5), "does not hold"),
        ({"outside": [-1, 1]}, (0, -1.5, 1.5), "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval(rule, interval, verdict):
    assert said(rule, measured(*interval)).verdict == verdict


@pytest.mark.parametrize("value", [0.8, 0.5])
def test_an_interval_that_contradicts_its_value_decides_nothing(value):
    """Overlaps of noisy orders fall when prompts are resampled, so the value may lie above all of its replicates."""
    found = of_replicates(value, np.linspace(0.1, 0.4, 999), confidence=0.95, n=50, unit="prompts")
    for rule in ({"below": 0.5}, {"above": 0.5}, {"inside": [0, 0.5]}, {"outside": [0, 0.5]}):
        told = said(rule, found)
        assert told.verdict == "undecided"
        assert told.reason.startswith("the value lies outside its interval")
    assert said({"below": 0.9}, found).verdict == "holds"


def test_no_verdict_without_an_interval():
    assert said({"above": 0}, measured(5, math.nan, math.nan)).verdict == "undecided"


def test_few_samples_decide_nothing():
    found = said({"above": 0}, measured(5, 4, 6, n=9))
    assert found.verdict == "undecided"
    assert found.reason == "n = 9 heads are fewer than 10"
    assert found.needed == 10
    assert said({"above": 0}, measured(5, 4, 6, n=10)).verdict == "holds"


def test_what_does_not_withstand_the_correction_is_undecided():
    assert said({"above": 0}, measured(1, 0.1, 1.9), q=0.05).verdict == "holds"
    found = said({"above": 0}, measured(1, 0.1, 1.9), q=0.051, tests=31)
    assert (found.verdict, found.reason) == ("undecided", "q = 0.051 after correction for 31 tests")


def test_a_further_test_must_reject_too_for_a_claim_to_hold():
    sure, doubtful = measured(5, 4, 6, also=1e-5), measured(5, 4, 6, also=0.4)
    rule = Rule.of({"above": 2})
    assert p_of(rule, sure) < 1e-4
    assert p_of(rule, doubtful) == 0.4
    found = said({"above": 2}, doubtful, q=0.5)
    assert found.verdict == "undecided"
    assert found.reason.startswith("its further test does not reject (p = 0.4")
    # That the claim does not hold follows from the interval alone.
    assert p_of(rule, measured(1, 0.5, 1.5, also=0.4)) < 0.05


def test_what_is_open_for_another_reason_says_so():
    found = said({"above": 0}, measured(1, 0.5, 1.5, open="it refuses nothing"))
    assert (found.verdict, found.reason) == ("undecided", "it refuses nothing")
    assert not decidable(measured(1, 0.5, 1.5, open="it refuses nothing"), 10)
    assert decidable(measured(1, 0.5, 1.5), 10)
    assert not decidable(measured(1, 0.5, 1.5, n=9), 10)


def test_correction_is_that_of_benjamini_and_hochberg():
    p = np.array([0.001, 0.04, 0.03, 0.8, 0.03])
    order = np.argsort(p)
    expected, least = np.empty(5), 1.0
    for rank in range(5, 0, -1):
        least = min(least, p[order[rank - 1]] * 5 / rank)
        expected[order[rank - 1]] = least
    np.testing.assert_allclose(corrected(list(p)), expected)
    assert corrected([]) == []


def test_samples_that_would_decide_are_those_that_a_simulation_needs():
    """The interval of a mean shrinks with the root of n: of so many samples it just excludes the threshold."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 1, 100)
    values += 0.1 - values.mean()  # so that the mean stays
    half = stats.norm.ppf(0.975) * values.std() / 10
    needed = samples_needed(Rule.of({"above": 0}), measured(0.1, 0.1 - half, 0.1 + half, n=100))
    for n, excluded in ((needed, True), (needed - 4, False)):
        assert (0.1 - stats.norm.ppf(0.975) * values.std() / np.sqrt(n) > 0) == excluded
    assert samples_needed(Rule.of({"above": 0}), measured(0, -1, 1)) is None


def test_a_claim_holds_where_all_its_parts_do():
    assert joined(["holds", "holds"]) == "holds"
    assert joined(["holds", "holds", "not applicable"]) == "undecided"  # a part of what is claimed was not tested
    assert joined(["not applicable", "does not hold"]) == "does not hold"
    assert joined(["holds", "undecided"]) == "undecided"
    assert joined(["holds", "undecided", "does not hold"]) == "does not hold"
    assert joined(["not applicable"]) == "not applicable"


def test_p_of_replicates_counts_both_tails():
    replicates = np.array([-1.0, 0.5, 1, 2, 3, 4, 5, 6, 7])
    found = of_replicates(3, replicates, confidence=0.95, n=20, unit="x")
    assert found.p(0) == pytest.approx(2 * (1 + 1) / 10)
    assert found.p(6.5) == pytest.approx(2 * (1 + 1) / 10)
    assert found.p(3.5) == 1.0
    assert found.p(10) == pytest.approx(2 / 10)


def test_p_of_an_interval_is_that_of_a_normal():
    found = measured(2, 2 - 1.959964, 2 + 2 * 1.959964)
    assert found.p(0) == pytest.approx(2 * stats.norm.sf(2), rel=1e-5)
    assert found.p(4) == pytest.approx(2 * stats.norm.sf(1), rel=1e-5)
    assert found.p(2) == 1
    # A value outside its interval: there is no half on its side, and that is no certainty.
    assert measured(2.05, 2.1, 3.0).p(2) == pytest.approx(2 * stats.norm.sf(0.05 * 1.959964 / 0.45), rel=1e-5)
    assert measured(2.05, 2.05, 2.05).p(2) == 0


def test_an_interval_of_another_confidence_is_brought_to_that_of_the_claims():
    """Of 90 % or of 99 %: a normal has one standard error, and so one interval and one p."""
    for own in (0.5, 0.9, 0.99):
        half = stats.norm.ppf(0.5 + own / 2)
        found = of_interval(2, 2 - half, 2 + 3 * half, confidence=0.95, own=own, n=50, unit="heads")
        assert (found.low, found.high) == pytest.approx((2 - 1.959964, 2 + 3 * 1.959964))
        assert found.p(0) == pytest.approx(2 * stats.norm.sf(2))
    same = of_interval(0.3, 0.1, 0.7, confidence=0.95, own=0.95, n=50, unit="heads")
    assert (same.low, same.high) == (0.1, 0.7)


def test_a_share_has_wilsons_interval_and_the_binomial_p():
    found = of_share(18, 20, confidence=0.95, unit="x", minus=0.3)
    low, high = stats.binomtest(18, 20).proportion_ci(0.95, method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((0.6, low - 0.3, high - 0.3))
    assert found.p(0.2) == pytest.approx(stats.binomtest(18, 20, 0.5).pvalue)
    assert isinstance(found, Measured)


def test_of_two_thresholds_the_larger_p_counts():
    found = measured(0, -1, 1)
    assert found.p(0.5) > found.p(-2)
    for direction in ("inside", "outside"):
        assert p_of(Rule.of({direction: [-2, 0.5]}), found) == found.p(0.5)
