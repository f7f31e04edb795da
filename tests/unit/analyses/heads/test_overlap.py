"""Comparison of measures of heads: against scipy and against chance by counting, planted relations, ties, nulls."""

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from atlas.analyses.heads import plot_head_overlap as plot
from atlas.analyses.heads.overlap import overlap_table, top_set
from atlas.analyses.registry import MEASURES, TABLES
from atlas.results.tables import conform

LAYERS, HEADS = 12, 8
METRICS = ["score", "alpha_natural", "meaningless_effect"]
OPTIONS = dict(top=10, draws=400, confidence=0.95, seed=0)


def heads(model="m", seed=0, **columns):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"model": model, "layer": np.repeat(range(LAYERS), HEADS), "head": list(range(HEADS)) * LAYERS}
    )
    for metric in METRICS:
        frame[metric] = rng.normal(size=len(frame))
    return frame.assign(**columns)


def overlap(frame, metrics, **options):
    """The table of these measures, as it is written."""
    return conform(
        overlap_table(frame, {metric: MEASURES[metric] for metric in metrics}, **options), TABLES["head_overlap"]
    )


def row(table, a, b, model="m"):
    return table[(table["model"] == model) & (table["metric_a"] == a) & (table["metric_b"] == b)].iloc[0]


def test_correlations_are_those_of_scipy_and_a_drop_counts_by_its_size():
    frame = heads()
    frame["alpha_natural"] += frame["score"]
    table = overlap(frame, METRICS, **OPTIONS)
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == TABLES["head_overlap"]
    assert list(zip(table["metric_a"], table["metric_b"], strict=True)) == list(combinations(METRICS, 2))
    signs = {"meaningless_effect": -1}
    for found in table.itertuples():
        a, b = (signs.get(metric, 1) * frame[metric] for metric in (found.metric_a, found.metric_b))
        expected = stats.spearmanr(a, b)
        assert (found.rho, found.p) == pytest.approx((expected.statistic, expected.pvalue))
        assert found.low < found.rho < found.high
    for p, q in (("p", "q"), ("within_p", "within_q"), ("overlap_p", "overlap_q")):
        np.testing.assert_allclose(table[q], stats.false_discovery_control(table[p]))


def test_bootstrap_interval_is_that_of_drawn_heads():
    frame = heads()
    frame["alpha_natural"] += frame["score"]
    found = row(overlap(frame, METRICS[:2], **{**OPTIONS, "draws": 2000}), *METRICS[:2])
    rng = np.random.default_rng(5)
    draws = [frame.iloc[rng.integers(len(frame), size=len(frame))] for _ in range(2000)]
    values = [stats.spearmanr(draw["score"], draw["alpha_natural"]).statistic for draw in draws]
    np.testing.assert_allclose([found["low"], found["high"]], np.percentile(values, [2.5, 97.5]), atol=0.02)


def test_within_layers_is_the_correlation_of_ranks_without_the_layers_means():
    frame = heads()
    found = row(overlap(frame, METRICS[:2], **OPTIONS), *METRICS[:2])
    ranks = [frame.groupby("layer")[metric].rank().to_numpy() for metric in METRICS[:2]]
    expected = stats.pearsonr(*ranks)  # equal layers, equal means
    assert found["rho_within"] == pytest.approx(expected.statistic)
    freedom = LAYERS * HEADS - LAYERS - 1
    t = expected.statistic * np.sqrt(freedom / (1 - expected.statistic**2))
    assert found["within_p"] == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_one_layer_has_a_correlation_within_it_but_no_interval_over_layers():
    frame = heads()
    found = row(overlap(frame[frame["layer"] == 0], METRICS[:2], **OPTIONS), *METRICS[:2])
    assert found["rho_within"] == pytest.approx(found["rho"])
    assert found["low"] < found["rho"] < found["high"]
    assert found[["within_low", "within_high"]].isna().all()


def test_depth_alone_is_seen_over_all_heads_and_not_within_layers():
    frame = heads()
    for metric in METRICS[:2]:
        frame[metric] += 5 * frame["layer"]
    found = row(overlap(frame, METRICS, **OPTIONS), *METRICS[:2])
    assert found["rho"] > 0.95
    assert found["q"] < 1e-6
    assert abs(found["rho_within"]) < 0.3
    assert found["within_low"] < 0 < found["within_high"]
    assert found["within_q"] > 0.05


def test_the_same_heads_are_found_within_layers_too():
    frame = heads()
    frame["alpha_natural"] = frame["score"] + 0.01 * frame["layer"]
    found = row(overlap(frame, METRICS, **OPTIONS), *METRICS[:2])
    assert found["rho_within"] == pytest.approx(1)
    assert found["within_p"] < 1e-12
    assert found["overlap"] >= 9


def test_overlap_by_chance_is_hypergeometric():
    found = row(overlap(heads(), METRICS[:2], **OPTIONS), *METRICS[:2])
    total, top = LAYERS * HEADS, 10
    ways = [comb(top, k) * comb(total - top, top - k) / comb(total, top) for k in range(top + 1)]
    assert found["expected"] == pytest.approx(sum(k * share for k, share in enumerate(ways)))
    assert found["overlap_p"] == pytest.approx(sum(ways[int(found["overlap"]) :]))
    assert sum(ways[: int(found["chance_low"])]) < 0.025
    assert sum(ways[int(found["chance_high"]) + 1 :]) < 0.025
    sets = [set(heads().nlargest(top, metric).index) for metric in METRICS[:2]]
    assert found["overlap"] == len(sets[0] & sets[1])


def test_top_sets_leave_out_what_ties_with_the_next():
    assert top_set(np.array([3.0, 1, 2, 0]), 2).tolist() == [True, False, True, False]
    assert top_set(np.array([3.0, 2, 2, 0]), 2).tolist() == [True, False, False, False]
    assert top_set(np.zeros(5), 2).sum() == 0
    assert top_set(np.zeros(2), 2) is None


def test_constant_and_missing_measures_give_nulls():
    frame = pd.concat([heads(), heads("n", 1, score=0.0), heads("o", 2, alpha_natural=np.nan)])
    table = overlap(frame.assign(saliency_absolute=np.nan), [*METRICS, "saliency_absolute"], **OPTIONS)
    unknown = table[table["metric_b"] == "saliency_absolute"]
    assert (unknown["heads"] == 0).all()  # a measure that no model has says nothing, and is not drawn
    assert unknown[["rho", "rho_within", "overlap"]].isna().all(axis=None)
    constant, missing = row(table, *METRICS[:2], model="n"), row(table, *METRICS[:2], model="o")
    assert constant[["rho", "low", "high", "p", "q", "rho_within", "within_q"]].isna().all()
    assert (constant["heads"], constant["top_a"], constant["overlap"], constant["overlap_p"]) == (96, 0, 0, 1)
    assert missing["heads"] == 0
    assert missing[["rho", "q", "rho_within", "overlap", "overlap_q"]].isna().all()
    assert table.loc[table["model"] == "o", "q"].notna().sum() == 1


def test_figure_marks_what_is_significant_and_leaves_out_what_is_missing():
    frame = heads()
    frame["alpha_natural"] += frame["score"]
    frame = pd.concat([frame, heads("n", 1, score=0.0)]).assign(saliency_absolute=np.nan)
    metrics = [*METRICS, "saliency_absolute"]
    table = overlap(frame, metrics, **OPTIONS)
    figure, caption = plot.draw(
        {"head_overlap": table},
        {
            "models": ["m", "n"], "model_labels": {"m": "Model M", "n": "$N$"}, "metrics": metrics, "width": 7.0,
            "alpha": 0.05, "confidence": 0.95, "bootstrap": 400, "dataset_labels": {"d": "Data D"},
            "datasets": dict.fromkeys(["head_categories", "sinks", "meaningless_tokens", "saliency"], "d"),
        },
        {},
    )  # fmt: skip
    table = table[table["metric_b"] != "saliency_absolute"]  # which no model has
    axes = figure.axes[0]
    assert len(axes.get_yticklabels()) == 3
    assert axes.get_yticklabels()[0].get_text() == "relation φ  ×  sink α₀"
    marks = [group for group in axes.collections if len(group.get_facecolors())]
    filled = [(np.abs(group.get_facecolors()[:, :3] - 1).sum(1) > 0).tolist() for group in marks]
    expected = (table[table["model"] == "m"]["q"] < 0.05).tolist()
    assert filled[0] == expected
    assert expected[0]
    drawn = np.ma.filled(marks[1].get_offsets().astype(float), np.nan)[:, 0]
    np.testing.assert_allclose(drawn, table[table["model"] == "n"]["rho"])
    assert "Model M: 96 heads, 1 of 3 pairs significant over all heads" in caption
    assert "sinks: Data D" in caption
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["Model M", r"\$N\$"]
