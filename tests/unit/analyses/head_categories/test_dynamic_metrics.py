"""Agreement of the map with scores on prompts, against loops over heads and pairs and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, t

from atlas.analyses.head_categories.dynamic_metrics import CONTEXTS, MEAN, dynamic_tables, pearson
from atlas.analyses.head_categories.metrics import SIGNS
from atlas.analyses.registry import TABLES
from atlas.results.tables import conform

OPTIONS = {"confidence": 0.9, "tau": 0.15}
LAYERS, HEADS, TEMPLATES = 3, 4, 2
KEYS = {"model": "m", "dataset": "d"}


def made(seed=0, layers=(0, 1, 2), depth=LAYERS):
    """(hits, ranks, pairs): relation `a` of 30 pairs, of which 20 are asked, `b` of 12, all asked, `c`, none asked."""
    rng = np.random.default_rng(seed)
    pairs = pd.DataFrame(
        {"relation": ["a"] * 30 + ["b"] * 12 + ["c"] * 5, "category": ["A"] * 30 + ["B"] * 12 + ["C"] * 5}
    )
    strength = rng.random((len(layers), HEADS, 1)) ** 3
    ranks = {"layers": np.array(layers)}
    pair = np.array([*range(5, 25), *range(30, 42)])
    hits = {"layers": np.array(layers), "depth": np.array(depth), "pair": pair}
    for sign in SIGNS:
        ranks[f"rank_{sign}"] = np.where(rng.random((len(layers), HEADS, len(pairs))) < strength, 3, 500)
        for context in CONTEXTS:
            drawn = rng.random((len(layers), HEADS, len(pair), TEMPLATES)) < strength[..., None]
            hits[f"{context}_{sign}"] = drawn.astype(np.uint8)
    return hits, ranks, pairs


def tables(hits, ranks, pairs, dropped=None, k=None):
    found = dynamic_tables(hits, ranks, pairs, k or {"default": 10}, dropped or {}, OPTIONS)
    return tuple(
        conform(found[name].assign(**KEYS), TABLES[name]) for name in ("relation_dynamic", "relation_correlation")
    )


def test_scores_and_correlations_equal_loops_over_heads_and_pairs():
    hits, ranks, pairs = made()
    heads, lines = tables(hits, ranks, pairs)
    for relation, context, sign in ((r, c, s) for r in "ab" for c in CONTEXTS for s in SIGNS):
        static, dynamic, by_template = [], [], []
        for layer in range(LAYERS):
            for head in range(HEADS):
                own = [i for i, pair in enumerate(hits["pair"]) if pairs["relation"][pair] == relation]
                static.append(np.mean([ranks[f"rank_{sign}"][layer, head, hits["pair"][i]] < 10 for i in own]))
                seen = [[hits[f"{context}_{sign}"][layer, head, i, n] for i in own] for n in range(TEMPLATES)]
                dynamic.append(np.mean(seen))
                by_template += [(static[-1], np.mean(one)) for one in seen]
        rows = heads[(heads["relation"] == relation) & (heads["context"] == context) & (heads["sign"] == sign)]
        np.testing.assert_allclose(rows["static"], static, atol=1e-12)
        np.testing.assert_allclose(rows["dynamic"], dynamic, atol=1e-12)
        line = lines[(lines["relation"] == relation) & (lines["context"] == context) & (lines["sign"] == sign)].iloc[0]
        assert abs(line["correlation"] - pearsonr(static, dynamic).statistic) < 1e-12
        assert abs(line["correlation_by_template"] - pearsonr(*zip(*by_template, strict=True)).statistic) < 1e-12
        assert line["low"] < line["correlation"] < line["high"]
        every = [
            (ranks[f"rank_{sign}"][x, h][pairs["relation"] == relation] < 10).mean() for x in range(3) for h in range(4)
        ]
        above = np.array(dynamic) > 0.15
        assert line["implementing"] == sum(np.array(every) > 0.15)
        assert line["confirmed"] == sum(above & (np.array(every) > 0.15))
        assert line["others"] == sum(above & ~(np.array(every) > 0.15))
        assert (line["pairs"], line["prompts"]) == ((20, 40) if relation == "a" else (12, 24))


def test_intervals_are_of_the_jackknife_over_pairs():
    hits, ranks, pairs = made()
    _, lines = tables(hits, ranks, pairs)
    line = lines[(lines["relation"] == "a") & (lines["context"] == "with") & (lines["sign"] == "direct")].iloc[0]
    static = (ranks["rank_direct"][:, :, hits["pair"][:20]] < 10).reshape(12, 20)
    dynamic = hits["with_direct"][:, :, :20].reshape(12, 20, TEMPLATES)
    z = []
    for left_out in range(20):
        kept = [i for i in range(20) if i != left_out]
        z.append(np.arctanh(pearsonr(static[:, kept].mean(1), dynamic[:, kept].mean((1, 2))).statistic))
    half = t.ppf(0.95, 19) * np.sqrt(19 / 20 * np.sum((np.array(z) - np.mean(z)) ** 2))
    centre = np.arctanh(line["correlation"])
    np.testing.assert_allclose([line["low"], line["high"]], np.tanh([centre - half, centre + half]))


def test_intervals_hold_what_pairs_drawn_anew_would_give():
    """90 % intervals of 15 pairs over and over, against the mean correlation of them all."""
    rng = np.random.default_rng(0)
    strength = np.concatenate([np.zeros(40), rng.random(20) ** 3])
    other = np.clip(strength + 0.2 * rng.random(60) * (strength > 0), 0, 1)
    pairs = pd.DataFrame({"relation": ["a"] * 15, "category": "A"})
    found = []
    for _ in range(150):
        own, seen = rng.random((60, 15)) < strength[:, None], rng.random((60, 15, 4)) < other[:, None, None]
        hits = {"layers": np.array([0]), "depth": np.array(1), "pair": np.arange(15)}
        hits |= {f"{context}_{sign}": seen[None].astype(np.uint8) for context in CONTEXTS for sign in SIGNS}
        ranks = {"layers": np.array([0])} | {f"rank_{sign}": np.where(own, 3, 500)[None] for sign in SIGNS}
        found.append(tables(hits, ranks, pairs)[1].iloc[0][["correlation", "low", "high"]].tolist())
    value, low, high = np.array(found).T
    assert 0.84 < ((low <= value.mean()) & (value.mean() <= high)).mean() < 0.97


def test_two_scores_that_are_the_same_correlate_fully():
    hits, ranks, pairs = made()
    for context, sign in ((context, sign) for context in CONTEXTS for sign in SIGNS):
        hits[f"{context}_{sign}"] = np.repeat((ranks[f"rank_{sign}"] < 10)[:, :, hits["pair"], None], TEMPLATES, 3)
    line = tables(hits, ranks, pairs)[1].iloc[0]
    assert abs(line["correlation"] - 1) < 1e-12
    assert 0.99 < line["low"] <= line["high"] <= 1


def test_the_mean_is_over_relations_that_some_head_implements():
    hits, ranks, pairs = made()
    ranks["rank_direct"][:, :, 30:42] = 500  # nobody implements b
    _, lines = tables(hits, ranks, pairs)
    row = lines[(lines["relation"] == MEAN) & (lines["context"] == "with")].set_index("sign")
    own = lines[(lines["context"] == "with") & lines["relation"].isin(["a", "b"])].set_index(["sign", "relation"])
    assert row.loc["direct", "relations"] == 1
    assert row.loc["direct", "correlation"] == own.loc[("direct", "a"), "correlation"]
    assert row.loc["suppression", "relations"] == 2
    assert abs(row.loc["suppression", "correlation"] - own.loc["suppression", "correlation"].mean()) < 1e-12
    # Two relations vary less together than each alone, because their pairs are drawn apart.
    widths = own.loc["suppression", "high"] - own.loc["suppression", "low"]
    assert row.loc["suppression", "high"] - row.loc["suppression", "low"] < widths.mean()
    assert own.loc[("direct", "b"), "reason"] == "all heads score the same by the map"
    assert np.isnan(own.loc[("direct", "b"), "correlation"])
    assert row.loc["direct", "pairs"] == 20


def test_a_relation_that_nobody_hits_on_prompts_counts_as_0_in_the_mean():
    hits, ranks, pairs = made()
    hits["with_direct"][:, :, 20:] = 0
    _, lines = tables(hits, ranks, pairs)
    lines = lines[(lines["context"] == "with") & (lines["sign"] == "direct")].set_index("relation")
    assert lines.loc["b", "reason"] == "all heads score the same on prompts"
    assert abs(lines.loc[MEAN, "correlation"] - lines.loc["a", "correlation"] / 2) < 1e-12
    assert lines.loc["b", "confirmed"] == 0


def test_a_relation_without_prompts_has_nulls_and_the_reason():
    hits, ranks, pairs = made()
    heads, lines = tables(hits, ranks, pairs, {"c": {"source is not one token there": 5}})
    own = lines[lines["relation"] == "c"]
    assert len(own) == 4
    assert own[["correlation", "low", "high", "static_max", "confirmed"]].isna().all(axis=None)
    assert set(own["reason"]) == {"no pair makes a prompt (5 source is not one token there)"}
    rows = heads[heads["relation"] == "c"]
    assert len(rows) == 4 * LAYERS * HEADS
    assert rows[["static", "dynamic"]].isna().all(axis=None)


def test_layers_without_attention_have_nulls_and_count_in_no_correlation():
    whole, hybrid = made(layers=(0, 1, 2)), made(layers=(1, 3, 4), depth=6)
    heads, lines = tables(*hybrid)
    assert sorted(heads["layer"].unique()) == list(range(6))
    blank = heads["layer"].isin([0, 2, 5])
    some = heads["relation"] != "c"
    assert heads.loc[blank, ["static", "dynamic"]].isna().all(axis=None)
    assert heads.loc[~blank & some, ["static", "dynamic"]].notna().all(axis=None)
    pd.testing.assert_frame_equal(lines, tables(*whole)[1])


def test_without_a_relation_that_is_implemented_there_is_no_mean():
    hits, ranks, pairs = made()
    for sign in SIGNS:
        ranks[f"rank_{sign}"][:] = 500
    _, lines = tables(hits, ranks, pairs)
    rows = lines[lines["relation"] == MEAN]
    assert rows["correlation"].isna().all()
    assert set(rows["reason"]) == {"no head implements a relation by the map"}


def test_k_of_a_relation_counts():
    hits, ranks, pairs = made()
    heads, lines = tables(hits, ranks, pairs, k={"default": 10, "a": 1})
    assert (heads.loc[heads["relation"] == "a", "static"] == 0).all()
    assert set(lines.loc[lines["relation"] == "a", "k"]) == {1}


def test_pearson_of_columns_equals_scipy():
    one, other = np.random.default_rng(0).random((2, 9, 5))
    expected = [pearsonr(one[:, i], other[:, i]).statistic for i in range(5)]
    np.testing.assert_allclose(pearson(one, other), expected)
    assert np.isnan(pearson(np.full(4, 0.1), np.arange(4.0)))


@pytest.mark.parametrize("context", CONTEXTS)
def test_contexts_and_signs_are_not_mixed_up(context):
    hits, ranks, pairs = made()
    for name in ("with_direct", "with_suppression", "without_direct", "without_suppression"):
        hits[name][:] = name == f"{context}_suppression"
    heads, _ = tables(hits, ranks, pairs)
    full = heads[heads["dynamic"] == 1]
    assert set(zip(full["context"], full["sign"], strict=True)) == {(context, "suppression")}


def test_a_score_of_exactly_tau_is_not_above_it():
    """Hits of 9 of 60 prompts are 0.15, however they are spread over templates, whose mean may be 0.15 and a bit."""
    pairs = pd.DataFrame({"relation": ["a"] * 15, "category": "A"})
    spreads = [(0, 0, 3, 6), (0, 1, 2, 6), (2, 2, 2, 3), (9, 0, 0, 0), (10, 0, 0, 0)]
    seen = np.arange(15)[:, None] < np.array(spreads)[:, None]  # (heads, pairs, templates)
    hits = {"layers": np.array([0]), "depth": np.array(1), "pair": np.arange(15)}
    hits |= {f"{context}_{sign}": seen[None].astype(np.uint8) for context in CONTEXTS for sign in SIGNS}
    ranks = {"layers": np.array([0])} | {f"rank_{sign}": np.full((1, 5, 15), 500) for sign in SIGNS}
    for sign in SIGNS:
        ranks[f"rank_{sign}"][0, 0] = 3
    heads, lines = tables(hits, ranks, pairs)
    own = heads[(heads["sign"] == "direct") & (heads["context"] == "with")]
    assert (own["dynamic"] > OPTIONS["tau"]).tolist() == [False] * 4 + [True]
    assert set(lines.loc[lines["relation"] == "a", "confirmed"]) == {0}
    assert set(lines.loc[lines["relation"] == "a", "others"]) == {1}


def test_one_pair_gives_no_interval_nor_does_a_mean_with_it():
    hits, ranks, pairs = made()
    kept = np.array([0, *range(20, 32)])  # of a one pair
    few = {name: value[:, :, kept] if value.ndim == 4 else value for name, value in hits.items()}
    _, lines = tables({**few, "pair": hits["pair"][kept]}, ranks, pairs)
    own = lines[(lines["context"] == "with") & (lines["sign"] == "direct")].set_index("relation")
    assert own.loc["a", "pairs"] == 1
    assert own.loc[["a", "b", MEAN], "correlation"].notna().all()
    assert own.loc[["a", MEAN], ["low", "high"]].isna().all(axis=None)
    assert own.loc["b", ["low", "high"]].notna().all()
