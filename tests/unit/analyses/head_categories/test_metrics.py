"""Scores, the permutation null against full enumeration, false discovery rates, labels."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from atlas.analyses.head_categories.metrics import (
    categories_table,
    label_heads,
    permutation_null,
    relation_scores,
    short_null,
)
from atlas.errors import AtlasError


def dense_hits(n, distinct, heads, density, seed):
    """(heads, n, n) hit matrices that agree on pairs with one target, and those targets."""
    generator = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(distinct), generator.integers(distinct, size=n - distinct)]) * 7 + 3
    by_token = generator.random((heads, n, distinct)) < density
    return by_token[:, :, (targets - 3) // 7], by_token, targets


def sparse(by_token):
    head, row, token = np.nonzero(by_token)
    return row, token * 7 + 3, head


@pytest.mark.parametrize(("n", "distinct"), [(2, 2), (5, 5), (6, 3), (6, 1)])
def test_mean_and_variance_are_those_of_all_permutations(n, distinct):
    hits, by_token, targets = dense_hits(n, distinct, heads=9, density=0.4, seed=n)
    own = hits[:, np.arange(n), np.arange(n)].sum(1)
    mean, variance, p = permutation_null(*sparse(by_token), targets, own, 20_000, np.random.default_rng(0))
    every = np.array([hits[:, np.arange(n), list(pi)].sum(1) for pi in itertools.permutations(range(n))])
    np.testing.assert_allclose(mean, (every / n).mean(0), atol=1e-12)
    np.testing.assert_allclose(variance, (every / n).var(0), atol=1e-12)
    # Monte Carlo: within 5 standard errors of the exact tail.
    np.testing.assert_allclose(p, (every >= own).mean(0), atol=5 * 0.5 / np.sqrt(20_000))


def test_p_counts_the_observed_order_itself():
    hits = np.eye(9, dtype=bool)[None]
    targets = np.arange(9) * 7 + 3
    p = permutation_null(*sparse(hits), targets, np.array([9]), 999, np.random.default_rng(0))[2]
    assert p[0] == 1 / 1000  # 9! permutations: none of 999 repeats the identity


def test_a_head_that_ignores_its_input_is_not_significant():
    """Every source hits the same few targets: the score may pass any threshold, the null equals it."""
    targets = np.repeat([3, 10], 20)
    by_token = np.zeros((1, 40, 2), bool)
    by_token[0, :, 0] = True
    mean, variance, p = permutation_null(*sparse(by_token), targets, np.array([20]), 500, np.random.default_rng(0))
    assert (mean[0], p[0]) == (0.5, 1.0)
    assert variance[0] == pytest.approx(0, abs=1e-15)


def test_without_any_hit_nothing_is_claimed():
    empty = np.zeros(0, int)
    mean, variance, p = permutation_null(
        empty, empty, empty, np.arange(5), np.zeros(3, int), 10, np.random.default_rng(0)
    )
    assert mean.tolist() == variance.tolist() == [0, 0, 0]
    assert p.tolist() == [1, 1, 1]


def mapped(ranks_direct, ranks_suppression, hits, k_max=64):
    """A result as map_heads gives it: ranks (L, H, P) and hits as rows (layer, head, sign, pair, target, rank)."""
    columns = np.array(hits).reshape(-1, 6).T
    names = ("hit_layer", "hit_head", "hit_sign", "hit_pair", "hit_target", "hit_rank")
    direct = np.array(ranks_direct)
    return {
        "layers": np.arange(direct.shape[0]) + 3,
        "heads": np.arange(direct.shape[1])[::-1],
        "k_max": np.array(k_max),
        "rank_direct": direct,
        "rank_suppression": np.array(ranks_suppression),
        **dict(zip(names, columns, strict=True)),
    }


def example():
    """One layer (3), heads 1 and 0. Relation "a": pairs 0, 2, 3; relation "b": pair 1."""
    pairs = pd.DataFrame(
        {
            "relation": ["a", "b", "a", "a"],
            "category": ["Knowledge", "Translation", "Knowledge", "Knowledge"],
            "target_id": [5, 6, 7, 8],
        }
    )
    far = 90
    direct = [[[0, far, 9, far], [far, 4, far, far]]]
    suppression = [[[far, far, far, 2], [far, far, far, far]]]
    hits = [
        (3, 1, 1, 0, 5, 0),
        (3, 1, 1, 2, 7, 9),
        (3, 1, 1, 3, 5, 1),  # not its own target
        (3, 1, 1, 0, 7, 40),  # beyond k
        (3, 1, -1, 3, 8, 2),
        (3, 0, 1, 1, 6, 4),
    ]
    return mapped(direct, suppression, hits), pairs


def test_scores_and_null_means_come_from_the_right_pairs_and_heads():
    ranks, pairs = example()
    table = relation_scores(ranks, pairs, {"a": 10, "b": 5}, draws=200)
    found = table.set_index(["relation", "sign", "layer", "head"])
    assert len(table) == 2 * 2 * 2
    assert found.loc[("a", "direct", 3, 1), "score"] == pytest.approx(2 / 3)
    assert found.loc[("a", "direct", 3, 1), "null_mean"] == pytest.approx(3 / 9)
    assert found.loc[("a", "suppression", 3, 1), "score"] == pytest.approx(1 / 3)
    assert found.loc[("a", "direct", 3, 0), "score"] == 0
    assert found.loc[("b", "direct", 3, 0), ["score", "null_mean", "p", "pairs"]].tolist() == [1, 1, 1, 1]
    assert found.loc[("b", "direct", 3, 0), "category"] == "Translation"
    smaller = relation_scores(ranks, pairs, {"a": 9, "b": 4}, draws=200).set_index(
        ["relation", "sign", "layer", "head"]
    )
    assert smaller.loc[("a", "direct", 3, 1), "score"] == pytest.approx(1 / 3)
    assert smaller.loc[("b", "direct", 3, 0), "score"] == 0


def random_result(heads=40, n=30, seed=0):
    generator = np.random.default_rng(seed)
    rank = generator.integers(0, 100, (2, heads, n, n))
    for head in range(heads):  # from heads that know nothing to heads that know the relation
        rank[:, head, range(head * n // heads // 2), range(head * n // heads // 2)] = 1
    direct = np.diagonal(rank, axis1=2, axis2=3)
    pairs = pd.DataFrame({"relation": "r", "category": "Linguistic", "target_id": np.arange(n)})
    layer, head, pair, target = np.nonzero(rank < 64)
    hits = np.stack([layer + 3, heads - 1 - head, np.ones_like(head), pair, target, rank[layer, head, pair, target]], 1)
    return mapped(direct, np.full_like(direct, 99), hits), pairs


def test_the_result_depends_on_the_seed_alone():
    ranks, pairs = random_result()
    one = relation_scores(ranks, pairs, {"r": 20}, draws=300, seed=1)
    pd.testing.assert_frame_equal(one, relation_scores(ranks, pairs, {"r": 20}, draws=300, seed=1))
    other = relation_scores(ranks, pairs, {"r": 20}, draws=300, seed=2)
    assert not one["p"].equals(other["p"])
    pd.testing.assert_frame_equal(one.drop(columns=["p", "q"]), other.drop(columns=["p", "q"]))
    # Another relation beside it changes nothing.
    more = pd.concat([pairs, pairs.assign(relation="z")], ignore_index=True)
    wide = {**ranks, **{key: np.concatenate([ranks[key]] * 2, 2) for key in ("rank_direct", "rank_suppression")}}
    both = relation_scores(wide, more, {"r": 20, "z": 20}, draws=300, seed=1)
    pd.testing.assert_frame_equal(one, both[both["relation"] == "r"].reset_index(drop=True))


def test_the_null_of_every_head_is_its_own():
    ranks, pairs = random_result()
    table = relation_scores(ranks, pairs, {"r": 20}, draws=10).set_index(["sign", "layer", "head"])
    hits = ranks["hit_rank"] < 20
    for (layer, head), group in pd.DataFrame({name: ranks[name][hits] for name in ("hit_layer", "hit_head")}).groupby(
        ["hit_layer", "hit_head"]
    ):
        assert table.loc[("direct", layer, head), "null_mean"] == pytest.approx(len(group) / 30**2)
    assert table.loc["direct", "null_mean"].nunique() > 20


def benjamini_hochberg(p):
    """By definition: q_i = min over p_j >= p_i of p_j * m / rank_j."""
    rank = np.array([(p <= value).sum() for value in p])
    raw = p * len(p) / rank
    return np.array([min(1, raw[p >= value].min()) for value in p])


def test_q_is_benjamini_hochberg_within_relation_and_sign():
    ranks, pairs = random_result()
    table = relation_scores(ranks, pairs, {"r": 20}, draws=500)
    for _, group in table.groupby(["relation", "sign"]):
        np.testing.assert_allclose(group["q"], benjamini_hochberg(group["p"].to_numpy()), atol=1e-12)
    assert table["q"].nunique() > 5


def test_missing_and_too_large_k_are_errors():
    ranks, pairs = example()
    with pytest.raises(AtlasError, match="'b'"):
        relation_scores(ranks, pairs, {"a": 10})
    with pytest.raises(AtlasError, match="k_max = 64"):
        relation_scores(ranks, pairs, {"a": 65, "b": 5})
    with pytest.raises(AtlasError, match="draws"):
        relation_scores(ranks, pairs, {"a": 6, "b": 5}, draws=0)
    with pytest.raises(AtlasError, match="No relation"):
        relation_scores(ranks, pairs.iloc[:0], {})


def scores(*rows):
    columns = ["layer", "head", "relation", "category", "sign", "score", "q"]
    return pd.DataFrame(rows, columns=columns)


def test_labels():
    table = scores(
        (0, 0, "x", "Knowledge", "direct", 0.15, 0.0),  # not above tau
        (0, 1, "x", "Knowledge", "direct", 0.16, 0.2),
        (0, 1, "y", "Knowledge", "suppression", 0.5, 0.01),
        (0, 2, "x", "Knowledge", "suppression", 0.9, 0.2),
        (0, 2, "z", "Algorithmic", "direct", 0.9, 0.04),
        (1, 0, "x", "Knowledge", "direct", 0.9, 0.05),  # not below alpha
        (1, 0, "z", "Algorithmic", "direct", 0.9, 0.9),
        (1, 0, "w", "Translation", "direct", 0.9, 0.9),
        (1, 1, "x", "Knowledge", "direct", 0.1, 0.01),  # one sign passes tau, the other the null
        (1, 1, "x", "Knowledge", "suppression", 0.9, 0.9),
    )
    by_tau = label_heads(table).set_index(["layer", "head"])
    assert by_tau["label"].tolist() == ["Unclassified", "Knowledge", "2 categories", "3 categories", "Knowledge"]
    assert by_tau.loc[(0, 2), "categories"] == "Algorithmic;Knowledge"
    by_null = label_heads(table, significance="tau_and_null").set_index(["layer", "head"])
    assert by_null["label"].tolist() == ["Unclassified", "Knowledge", "Algorithmic", "Unclassified", "Unclassified"]
    assert set(by_null["significance"]) == {"tau_and_null"}
    with pytest.raises(AtlasError, match="tau_or_null"):
        label_heads(table, significance="tau_or_null")


@pytest.mark.parametrize(("heads", "draws", "alpha"), [(5, 99, 0.05), (5, 100, 0.05), (20, 199, 0.1), (20, 200, 0.1)])
def test_too_few_permutations_are_a_warning_exactly_where_one_head_alone_cannot_be_significant(heads, draws, alpha):
    p = np.ones(heads)
    p[0] = 1 / (draws + 1)  # no permutation reaches what this head has
    found = false_discovery_control(p)[0] < alpha
    scores = pd.DataFrame({"layer": 0, "head": range(heads), "category": "Knowledge", "score": 0.9, "q": 0.5})
    table = categories_table(scores, tau=0.15, alpha=alpha, draws=draws)
    assert set(table.loc[table["significance"] == "tau", "warning"]) == {""}
    (warning,) = table.loc[table["significance"] == "tau_and_null", "warning"].unique()
    assert (warning == "") == found
    if warning:
        needed = int(re.search(r"take (\d+) or more", warning)[1])
        assert f"{draws} permutations one head among {heads} has q = {heads / (draws + 1):.2g}" in warning
        assert short_null(heads, needed, alpha) is None
        assert short_null(heads, needed - 1, alpha) is not None
