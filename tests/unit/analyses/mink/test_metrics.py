"""Min-K%, Min-K%++, averages by depth and trends, on values that can be computed by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from atlas.analyses.mink.metrics import (
    depth_trend,
    graph_table,
    min_k,
    mink_table,
    page_trend,
    tokens_counted,
    trend_table,
    z_scores,
)
from atlas.errors import AtlasError
from atlas.statistics.intervals import bootstrap_interval

KEYS = {"model": "m", "dataset": "d"}


def graph():
    """Two D3 questions that share the D2 question b."""
    rows = [
        ("x", 1, []), ("y", 1, []), ("z", 1, []), ("a", 2, ["x"]), ("b", 2, ["x", "y"]), ("c", 2, ["z"]),
        ("p", 3, ["a", "b"]), ("q", 3, ["b", "c"]),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["id", "depth", "predecessors"])
    return frame.assign(question="?", answer="!")


def arrays(tokens, seed=0):
    rng = np.random.default_rng(seed)
    total = sum(tokens.values())
    return {
        "answer.number": np.array(list(tokens), np.int32),
        "answer.tokens": np.array(list(tokens.values()), np.int32),
        "answer.lp": -rng.exponential(3, total).astype(np.float32),
        "answer.mu": np.full(total, -2, np.float32),
        "answer.sigma": np.full(total, 2, np.float32),
        "answer.rank": np.zeros(total, np.int32),
    }


def test_the_k_smallest_are_averaged_and_the_sign_is_positive():
    lp = np.array([-1.0, -7.0, -3.0, -5.0, -0.5])
    assert min_k(lp, 20) == 7
    assert min_k(lp, 40) == 6
    assert min_k(lp, 59.9) == 6
    assert min_k(lp, 60) == 5
    assert min_k(lp, 100) == pytest.approx(3.3)
    assert min_k(lp, 0.001) == 7


@pytest.mark.parametrize("k_percent", [1, 7, 12.5, 28, 29, 55, 57, 58, 99.9, 100])
def test_k_is_the_exact_floor(k_percent):
    for tokens in (1, 3, 8, 50, 100, 1000):
        exact = tokens * round(k_percent * 10) // 1000  # in thousandths, whole numbers only
        assert tokens_counted(tokens, k_percent) == max(1, exact)


def test_29_percent_of_100_tokens_are_29_where_floats_say_28():
    assert int(100 * 0.29) == 28
    assert tokens_counted(100, 29) == 29


@pytest.mark.parametrize("k_percent", [0, -5, 100.5])
def test_k_outside_its_range_is_refused(k_percent):
    with pytest.raises(AtlasError, match="above 0 and at most 100"):
        tokens_counted(10, k_percent)


def test_non_increasing_in_k():
    lp = -np.random.default_rng(1).exponential(2, 313)
    values = [min_k(lp, k) for k in range(1, 101)]
    assert (np.diff(values) <= 0).all()


def test_z_is_standardised_and_zero_where_sigma_is_zero():
    z = z_scores([-4, -1, -2], [-2, -3, -2], [2, 0.5, 0])
    assert z.tolist() == [-1, 4, 0]
    assert min_k(z, 34) == 1


def test_table_has_every_question_and_k_and_counts_short_texts():
    table = graph()
    stored = arrays({0: 10, 3: 4, 6: 20})
    mink, short = mink_table(stored, table, KEYS, k_percent=[20, 100], min_tokens=5, template="chat", dtype="float32")
    assert short == {"answer": 1}
    assert mink.loc[mink["k_percent"] == 20, "question"].tolist() == ["x", "p"]
    assert set(mink["dtype"]) == {"float32"}
    row = mink[(mink["question"] == "p") & (mink["k_percent"] == 20)].iloc[0]
    lp = np.sort(stored["answer.lp"][14:].astype(float))
    assert row["mink"] == pytest.approx(-lp[:4].mean())
    assert row["minkpp"] == pytest.approx(-((lp[:4] + 2) / 2).mean())
    assert (row["tokens"], row["tokens_averaged"], row["depth"]) == (20, 4, 3)
    with pytest.raises(AtlasError, match="min_tokens"):
        mink_table(stored, table, KEYS, k_percent=[20], min_tokens=50, template="chat", dtype="float32")


def test_averages_by_graph_are_means_over_its_questions():
    table = graph()
    mink, _ = mink_table(
        arrays(dict.fromkeys(range(8), 30)), table, KEYS, k_percent=[20], min_tokens=5, template="raw", dtype="float32"
    )
    value = mink.set_index("question")["mink"]
    found = graph_table(mink, table).set_index(["root", "depth"])
    assert found.loc[("p", 1), "mink"] == pytest.approx(value[["x", "y"]].mean())
    assert found.loc[("p", 2), "mink"] == pytest.approx(value[["a", "b"]].mean())
    assert found.loc[("q", 1), "mink"] == pytest.approx(value[["x", "y", "z"]].mean())
    assert found.loc[("q", 3), "mink"] == pytest.approx(value["q"])
    assert found["questions"].tolist() == [2, 2, 1, 3, 2, 1]


def test_without_predecessors_there_is_no_average_by_graph():
    alone = graph().assign(predecessors=[[]] * len(graph()))
    stored = arrays(dict.fromkeys(range(8), 30))
    mink, short = mink_table(stored, alone, KEYS, k_percent=[20], min_tokens=5, template="raw", dtype="float32")
    by_graph = graph_table(mink, alone)
    assert by_graph.empty
    options = {"confidence": 0.95, "draws": 200, "seed": 0}
    assert trend_table(mink, by_graph, short, average="question", **options)["questions"].tolist() == [3, 3, 2]
    with pytest.raises(AtlasError, match=r"average is graph, but data set \w+ names no predecessors"):
        trend_table(mink, by_graph, short, average="graph", **options)


@pytest.mark.parametrize("average", ["question", "graph"])
def test_trend_table_says_what_it_is_over(average):
    table = graph()
    stored = arrays(dict.fromkeys(range(8), 30))
    mink, short = mink_table(stored, table, KEYS, k_percent=[20, 50], min_tokens=5, template="raw", dtype="float32")
    by_graph = graph_table(mink, table)
    trend = trend_table(mink, by_graph, short, average=average, confidence=0.95, draws=200, seed=0)
    assert trend["average"].unique().tolist() == [average]
    part = trend[trend["k_percent"] == 20]
    assert part["questions"].tolist() == ([3, 3, 2] if average == "question" else [2, 2, 2])
    source = mink if average == "question" else by_graph
    source = source[source["k_percent"] == 20]
    for row in part.itertuples():
        values = source.loc[source["depth"] == row.depth, "mink"]
        assert row.median == pytest.approx(values.median())
        assert row.low <= row.median <= row.high


def test_trend_tests_find_a_planted_trend_and_no_other():
    rng = np.random.default_rng(0)
    depths = np.repeat([1, 2, 3], 60)
    tau, p = depth_trend(depths, depths + rng.normal(0, 1, 180))
    assert tau > 0.3
    assert p < 1e-6
    assert depth_trend(depths, rng.normal(0, 1, 180))[1] > 0.01
    assert np.isnan(depth_trend([1, 1, 1], [1, 2, 3])[1])
    frame = pd.DataFrame({"root": np.tile(np.arange(20), 3), "depth": np.repeat([1, 2, 3], 20)})
    frame["mink"] = -frame["depth"] + rng.normal(0, 1, 60)
    assert page_trend(frame, "mink") < 1e-4
    frame["mink"] = rng.normal(0, 1, 60)
    both = [stats.page_trend_test(v, method="asymptotic").pvalue for v in _blocks(frame)]
    assert page_trend(frame, "mink") == pytest.approx(min(1, 2 * min(both)))


def _blocks(frame):
    wide = frame.pivot(index="root", columns="depth", values="mink").to_numpy()
    return wide, wide[:, ::-1]


def test_median_interval_covers():
    rng = np.random.default_rng(3)
    hits = 0
    for i in range(200):
        low, high = bootstrap_interval(rng.normal(0, 1, 40), np.median, confidence=0.9, draws=300, seed=i)
        hits += low <= 0 <= high
    assert 165 <= hits <= 196


def test_the_domain_stands_beside_the_question():
    about = {"k_percent": [20], "min_tokens": 2, "template": "raw", "dtype": "float32"}
    lengths = dict.fromkeys((0, 2, 3), 6)
    plain, _ = mink_table(arrays(lengths), graph(), KEYS, **about)
    assert set(plain["domain"]) == {""}
    told = graph().assign(domain=["m", "m", None, "p", "p", "p", "p", "p"])
    found, _ = mink_table(arrays(lengths), told, KEYS, **about)
    assert found.set_index("question")["domain"].to_dict() == {"x": "m", "z": "", "a": "p"}
    assert found.drop(columns="domain").equals(plain.drop(columns="domain"))
