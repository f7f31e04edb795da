"""AUROC and true positives at few false ones, against scikit-learn and against thresholds tried one by one."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from atlas.statistics import roc
from atlas.statistics.roc import roc_intervals, roc_points, roc_statistics


def drawn(members, others, seed, ties=False):
    """(scores, which are members), in mixed order; with ties, scores are whole numbers."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.7, 1, members), rng.normal(0, 1, others)])
    order = rng.permutation(members + others)
    labels = np.arange(members + others) < members
    return (np.round(scores) if ties else scores)[order], labels[order]


def rate_by_trying(scores, members, max_fpr):
    """The most members found by any threshold whose false positives are few enough."""
    found = [0.0]
    for threshold in scores:
        called = scores >= threshold
        if (called & ~members).sum() / (~members).sum() <= max_fpr + 1e-12:
            found.append((called & members).sum() / members.sum())
    return max(found)


SIZES = [(1, 1), (1, 7), (5, 3), (40, 60), (20, 20), (33, 100)]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_equals_scikit_learn_and_a_search_over_thresholds(sizes, ties):
    for seed in range(5):
        scores, members = drawn(*sizes, seed, ties)
        for max_fpr in (0.01, 0.05, 0.1, 0.29, 0.5):
            area, rate = roc_statistics(scores, members, max_fpr)
            assert area.item() == pytest.approx(roc_auc_score(members, scores), abs=1e-12)
            assert rate.item() == pytest.approx(rate_by_trying(scores, members, max_fpr), abs=1e-12)
        false, true = roc_points(scores, members)
        expected = roc_curve(members, scores, drop_intermediate=False)
        np.testing.assert_allclose(false, expected[0])
        np.testing.assert_allclose(true, expected[1])


def test_a_share_is_of_whole_texts_without_float_error():
    """29 % of 100 are 29, though 0.29 * 100 is below it."""
    scores = np.concatenate([np.arange(100.0), [70.5]])
    members = np.arange(101) == 100
    # 29 non-members, 71 to 99, stand above the member.
    assert roc_statistics(scores, members, 0.29)[1].item() == 1
    assert roc_statistics(scores, members, 0.28)[1].item() == 0


def test_scores_that_tell_all_or_nothing_or_the_contrary():
    members = np.array([True, True, False, False])
    for scores, area, rate in (([2, 2, 1, 1], 1, 1), ([1, 1, 1, 1], 0.5, 0), ([1, 1, 2, 2], 0, 0)):
        found = roc_statistics(np.array(scores, float), members, 0.05)
        assert (found[0].item(), found[1].item()) == (area, rate)
    infinite = roc_statistics(np.array([0.0, -1, -np.inf, -np.inf]), members, 0.05)
    assert (infinite[0].item(), infinite[1].item()) == (1, 1)


def test_replicates_are_those_of_the_drawn_texts_themselves(monkeypatch):
    """A text that is drawn twice counts as two texts; how many draws are held at once changes nothing."""
    scores, members = drawn(9, 14, 3, ties=True)
    rng = np.random.default_rng(1)
    weights = np.zeros((25, 23))
    for row in weights:
        for kind in (members, ~members):
            places = np.flatnonzero(kind)
            np.add.at(row, rng.choice(places, len(places)), 1)
    area, rate = roc_statistics(scores, members, 0.15, weights)
    for row, a, r in zip(weights, area, rate, strict=True):
        places = np.repeat(np.arange(23), row.astype(int))
        assert a == pytest.approx(roc_auc_score(members[places], scores[places]), abs=1e-12)
        assert r == pytest.approx(rate_by_trying(scores[places], members[places], 0.15), abs=1e-12)
    monkeypatch.setattr(roc, "_AT_ONCE", 50)
    again = roc_statistics(scores, members, 0.15, weights)
    np.testing.assert_array_equal(again[0], area)
    np.testing.assert_array_equal(again[1], rate)


def test_intervals_are_percentiles_over_texts_and_cover_as_often_as_they_say():
    scores, members = drawn(40, 40, 0)
    (low, high), (less, more) = roc_intervals(scores, members, 0.05, confidence=0.9, draws=4000, seed=0)
    rng = np.random.default_rng(5)
    areas, rates = [], []
    for _ in range(4000):
        places = np.concatenate([rng.choice(np.flatnonzero(kind), 40) for kind in (members, ~members)])
        area, rate = roc_statistics(scores[places], members[places], 0.05)
        areas.append(area.item()), rates.append(rate.item())
    np.testing.assert_allclose([low, high], np.percentile(areas, [5, 95]), atol=0.01)
    np.testing.assert_allclose([less, more], np.percentile(rates, [5, 95]), atol=0.05)
    same = roc_intervals(scores, members, 0.05, confidence=0.9, draws=4000, seed=0)
    assert same == ((low, high), (less, more))
    covered = 0
    for seed in range(200):  # the AUROC of normals 0.7 apart is Phi(0.7 / sqrt 2)
        (low, high), _ = roc_intervals(*drawn(40, 40, seed), 0.05, confidence=0.9, draws=200, seed=seed)
        covered += low <= 0.6897 <= high
    assert 0.82 <= covered / 200 <= 0.96


def test_a_class_of_one_text_has_no_interval():
    scores, members = drawn(1, 9, 0)
    assert np.isnan(roc_intervals(scores, members, 0.05, confidence=0.9, draws=100, seed=0)).all()
