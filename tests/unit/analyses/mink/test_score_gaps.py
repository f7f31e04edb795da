"""Score gaps, groups and discrepancies on a graph whose values are worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.mink.depth_graph import (
    graph_of,
    graphs,
    predecessors,
    predecessors_by_depth,
    prediction_rows,
    successors,
)
from atlas.analyses.mink.score_gaps import accuracy_table, discrepancy_table, group_of, score_gap_table
from atlas.analyses.mink.tables import TABLES
from atlas.errors import AtlasError
from atlas.results.tables import conform

#            id   depth  predecessors  score
ROWS = [
    ("x", 1, [], 5.0),
    ("y", 1, [], 3.0),
    ("z", 1, [], 4.0),
    ("a", 2, ["x"], 4.0),
    ("b", 2, ["x", "y"], 5.0),
    ("c", 2, ["z"], 2.0),
    ("p", 3, ["a", "b"], 3.0),
    ("q", 3, ["b", "c"], 5.0),
]  # fmt: skip
INTERVAL = {"confidence": 0.95, "draws": 200, "seed": 0}


def table():
    return pd.DataFrame([row[:3] for row in ROWS], columns=["id", "depth", "predecessors"])


def judged(without=()):
    rows = [(i, row[0], row[1], np.nan if row[0] in without else row[3]) for i, row in enumerate(ROWS)]
    return pd.DataFrame(rows, columns=["number", "id", "depth", "score"])


def mink(**values):
    frame = pd.DataFrame({"question": list(values), "mink": list(values.values())})
    return frame.assign(k_percent=20.0, text="answer")


def value(found, direction, depths):
    row = found[(found["direction"] == direction) & (found["depths"] == depths)].iloc[0]
    return row["value"], row["questions"]


def test_neighbours_and_graphs():
    assert predecessors(table())[7] == [4, 5]
    assert successors(table())[0] == [3, 4]
    assert successors(table())[4] == [6, 7]
    assert graphs(table()) == {6: [0, 1, 3, 4, 6], 7: [0, 1, 2, 4, 5, 7]}


def test_score_gap_is_signed_and_a_quarter_of_the_difference():
    found, left_out = score_gap_table(table(), judged(), mink(p=2.0, q=9.0), k_percent=20, text="answer")
    gaps = found.set_index("question")
    assert gaps.loc["p", "gap"] == pytest.approx((3 - 4.5) / 4)
    assert gaps.loc["q", "gap"] == pytest.approx((5 - 3.5) / 4)
    assert gaps["group"].to_dict() == {"p": "25%", "q": "75%"}
    assert sum(left_out.values()) == 0


def test_predecessors_without_a_score_are_left_out_of_the_mean():
    found, _ = score_gap_table(table(), judged({"c"}), mink(p=2.0, q=9.0), k_percent=20, text="answer")
    row = found.set_index("question").loc["q"]
    assert (row["gap"], row["predecessors"]) == (0, 1)


def test_what_is_left_out_is_counted_by_reason():
    some = judged({"p"})
    found, left_out = score_gap_table(table(), some, mink(q=9.0), k_percent=20, text="answer")
    assert (len(found), left_out["no score"]) == (1, 1)
    asked = judged()[judged()["id"] != "q"]
    _, left_out = score_gap_table(table(), asked, mink(p=1.0, q=9.0), k_percent=20, text="answer")
    assert left_out["not predicted"] == 1
    _, left_out = score_gap_table(table(), judged({"a", "b"}), mink(p=1.0, q=9.0), k_percent=20, text="answer")
    assert left_out["no predecessor with a score"] == 1
    with pytest.raises(AtlasError, match=r"no D3 question has a score gap .*2 no Min-K%"):
        score_gap_table(table(), judged(), mink(x=1.0), k_percent=20, text="answer")


def test_groups_are_closed_at_the_quantiles():
    groups = [group_of(value, 2.0, 6.0) for value in (1.9, 2.0, 2.1, 5.9, 6.0, 7.0)]
    assert groups == ["25%", "25%", "middle", "middle", "75%", "75%"]


def test_discrepancies_of_the_hand_computed_graph():
    found = discrepancy_table(table(), judged(), threshold=4, successor_rule="mean", **INTERVAL)
    # forward D2-D3: p: mean(4, 5) = 4.5 counts, gap 1.5 / 4; q: mean(5, 2) = 3.5 does not count
    assert value(found, "forward", "D2-D3") == (pytest.approx(0.375), 1)
    # forward D1-D2: a: 5 vs 4 -> .25; b: mean(5, 3) = 4 counts, 4 - 5 < 0 -> 0; c: 4 vs 2 -> .5
    assert value(found, "forward", "D1-D2") == (pytest.approx(0.25), 3)
    assert value(found, "forward", "all") == (pytest.approx((0.375 + 0.75) / 4), 4)
    # backward D2-D3: a: p 3 no; b: mean(p 3, q 5) = 4 counts, 4 - 5 < 0 -> 0; c: q 5 vs 2 -> .75
    assert value(found, "backward", "D2-D3") == (pytest.approx(0.375), 2)
    # backward D1-D2: x: mean(4, 5) = 4.5 vs 5 -> 0; y: b 5 vs 3 -> .5; z: c 2 no
    assert value(found, "backward", "D1-D2") == (pytest.approx(0.25), 2)


def test_the_published_rule_takes_the_first_successor_alone():
    found = discrepancy_table(table(), judged(), threshold=4, successor_rule="first", **INTERVAL)
    # b: first successor p has 3, does not count any more; x: a 4 counts, 4 - 5 < 0 -> 0
    assert value(found, "backward", "D2-D3") == (pytest.approx(0.75), 1)
    assert value(found, "backward", "D1-D2") == (pytest.approx(0.25), 2)
    assert value(found, "forward", "D2-D3") == (pytest.approx(0.375), 1)


def published(frame, scores, direction, lower, upper):
    """The published evaluation, restated: gather neighbours' scores per question, gate, clip, average."""
    neighbours = {}
    for row in frame.itertuples():
        if row.depth == upper:
            for other in row.predecessors:
                key, seen = (row.id, scores[other]) if direction == "forward" else (other, scores[row.id])
                neighbours.setdefault(key, []).append(seen)
    level = {key: np.average(seen) if direction == "forward" else seen[0] for key, seen in neighbours.items()}
    counted = {key: mean for key, mean in level.items() if mean >= 4}
    return sum(max(0, (mean - scores[key]) / 4) for key, mean in counted.items()) / len(counted)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_published_formula_on_random_graphs(seed):
    rng = np.random.default_rng(seed)
    rows = [(f"{d}-{i}", d) for d in (1, 2, 3) for i in range(20)]
    below = {d: [name for name, depth in rows if depth == d - 1] for d in (1, 2, 3)}
    frame = pd.DataFrame(rows, columns=["id", "depth"])
    frame["predecessors"] = [
        list(rng.choice(below[d], size=rng.integers(1, 5), replace=False)) if d > 1 else [] for d in frame["depth"]
    ]
    scores = dict(zip(frame["id"], rng.integers(2, 6, 60).astype(float), strict=True))
    judgements = pd.DataFrame({"number": range(60), "score": frame["id"].map(scores)})
    found = discrepancy_table(frame, judgements, threshold=4, successor_rule="first", **INTERVAL)
    for direction in ("forward", "backward"):
        for lower, upper in ((2, 3), (1, 2)):
            expected = published(frame, scores, direction, lower, upper)
            assert value(found, direction, f"D{lower}-D{upper}")[0] == pytest.approx(expected)


def places(seed):
    """(table of 24 questions with the nodes of 9 graphs, frame of the nodes, {node: score}, judgements)."""
    rng = np.random.default_rng(seed)
    questions = [(f"{d}-{i}", d) for d, n in ((1, 10), (2, 8), (3, 6)) for i in range(n)]
    of = {d: [name for name, depth in questions if depth == d] for d in (1, 2, 3)}
    nodes = {}  # node -> (question, depth, nodes below)
    for graph in range(9):
        level = {}
        for depth, number in ((1, 4), (2, 3), (3, 1)):
            below = list(level)
            level = {
                f"{graph}_{depth}_{i}": (
                    name, depth, list(rng.choice(below, size=rng.integers(1, 4), replace=False)) if below else []
                )
                for i, name in enumerate(rng.choice(of[depth], size=number, replace=False))
            }  # fmt: skip
            nodes |= level
    table = pd.DataFrame(questions, columns=["id", "depth"])
    own = {name: [[node, *below] for node, (q, _, below) in nodes.items() if q == name] for name in table["id"]}
    table["nodes"] = table["id"].map(own)
    table["predecessors"] = [
        list(dict.fromkeys(nodes[other][0] for _, *below in own[name] for other in below)) for name in table["id"]
    ]
    scores = dict(zip(table["id"], rng.integers(2, 6, len(table)).astype(float), strict=True))
    listed = [(node, nodes[node][1], nodes[node][2]) for name in table["id"] for node, *_ in own[name]]
    frame = pd.DataFrame(listed, columns=["id", "depth", "predecessors"])
    judgements = pd.DataFrame({"number": range(len(table)), "score": table["id"].map(scores)})
    return table, frame, {node: scores[nodes[node][0]] for node in nodes}, judgements


@pytest.mark.parametrize("seed", range(5))
def test_by_node_equals_the_published_evaluation_of_nodes(seed):
    frame, nodes, scores, judgements = places(seed)
    assert len(nodes) == 72
    settings = {"threshold": 4, "successor_rule": "first", **INTERVAL}
    found = discrepancy_table(frame, judgements, by="node", **settings)
    folded = discrepancy_table(frame, judgements, **settings)
    for direction in ("forward", "backward"):
        for lower, upper in ((2, 3), (1, 2)):
            expected = published(nodes, scores, direction, lower, upper)
            assert value(found, direction, f"D{lower}-D{upper}")[0] == pytest.approx(expected)
    assert (set(found["by"]), set(folded["by"])) == ({"node"}, {"question"})
    assert not np.allclose(found["value"], folded["value"], equal_nan=True)
    assert found["questions"].sum() > folded["questions"].sum()


def test_nodes_of_questions_that_are_left_out_count_for_nothing():
    frame, *_, judgements = places(0)
    kept = frame[frame["depth"] > 1].reset_index(drop=True)
    judged = pd.DataFrame({"number": range(len(kept)), "score": judgements["score"][frame["depth"] > 1].to_numpy()})
    settings = {"threshold": 4, "successor_rule": "mean", "by": "node", **INTERVAL}
    whole, part = (discrepancy_table(*both, **settings) for both in ((frame, judgements), (kept, judged)))
    assert value(part, "forward", "D2-D3") == value(whole, "forward", "D2-D3")
    assert value(part, "forward", "D1-D2")[1] == 0


def test_without_nodes_a_question_counts_once_for_each_topmost_one_above_it():
    found = discrepancy_table(table(), judged(), threshold=4, successor_rule="mean", by="node", **INTERVAL)
    # Graphs of p and q: b stands in both, below p and below q alone, and so do x and y.
    # backward D2-D3: a (p 3): no; b below p: no; b below q: q 5 vs 5 -> 0; c: q 5 vs 2 -> .75
    assert value(found, "backward", "D2-D3") == (pytest.approx(0.375), 2)
    # forward D1-D2: a .25; b 0 in both; c .5
    assert value(found, "forward", "D1-D2") == (pytest.approx(0.75 / 4), 4)
    # backward D1-D2: x below p: mean(a 4, b 5) vs 5 -> 0; x below q: b 5 vs 5 -> 0; y twice: b 5 vs 3 -> .5; z: no
    assert value(found, "backward", "D1-D2") == (pytest.approx(0.25), 4)
    nothing = table().assign(predecessors=[[]] * len(ROWS))
    assert graph_of(nothing, "node").row.tolist() == list(range(len(ROWS)))


def test_nodes_of_some_questions_of_a_graph_alone_are_refused():
    frame, *_ = places(0)
    lost = next(name for name, below in zip(frame["id"], frame["predecessors"], strict=True) if len(below))
    nodes = [None if name == lost else own for name, own in zip(frame["id"], frame["nodes"], strict=True)]
    with pytest.raises(AtlasError, match=rf"1 of the questions .* have none, such as '{lost}'; give them nodes"):
        graph_of(frame.assign(nodes=nodes), "node")
    assert len(graph_of(frame.assign(nodes=nodes), "question").row) == len(frame)
    none_named = graph_of(frame.assign(nodes=[[]] * len(frame)), "node")
    assert none_named.row.tolist() == graph_of(frame.drop(columns="nodes"), "node").row.tolist()


def test_nothing_that_counts_is_nan_not_zero():
    low = judged().assign(score=1.5)
    found = discrepancy_table(table(), low, threshold=4, successor_rule="mean", **INTERVAL)
    assert found["value"].isna().all()
    assert (found["questions"] == 0).all()


def test_without_predecessors_there_are_no_gaps_and_no_graphs_and_accuracy_is_there():
    """A data set of questions alone: tables without gaps, not an error, and the reason with its count."""
    alone = table().assign(predecessors=[[]] * len(ROWS))
    found, left_out = score_gap_table(alone, judged(), mink(p=2.0, q=9.0), k_percent=20, text="answer")
    assert found.empty
    assert conform(found.assign(model="", dataset="", judge="", answers_from=""), TABLES["score_gap"]).empty
    assert left_out == {"without predecessors in the data": 2}
    assert graphs(alone) == {}
    assert predecessors_by_depth(alone) == {1: 0, 2: 0, 3: 0}
    assert predecessors_by_depth(table()) == {1: 0, 2: 4, 3: 4}
    gaps = discrepancy_table(alone, judged(), threshold=1, successor_rule="mean", **INTERVAL)
    assert gaps["value"].isna().all()
    assert (gaps["questions"] == 0).all()
    assert accuracy_table(alone, judged(), **INTERVAL)["score"].tolist() == [4.0, 11 / 3, 4.0]
    # All are asked, or so many of each depth.
    assert prediction_rows(alone, None, 0) == list(range(len(ROWS)))
    assert alone["depth"][prediction_rows(alone, 2, 0)].tolist() == [1, 1, 2, 2, 3, 3]
    assert prediction_rows(alone, 2, 0) != prediction_rows(alone, 2, 1)
    assert prediction_rows(alone, 2, 0) == prediction_rows(alone, 2, 0)


def test_accuracy_counts_answers_without_a_score():
    found = accuracy_table(table(), judged({"y"}), **INTERVAL).set_index("depth")
    assert found.loc[1, "score"] == 4.5
    assert found["unscored"].tolist() == [1, 0, 0]
    assert found["questions"].tolist() == [2, 3, 2]


def test_predictions_are_whole_graphs_of_drawn_questions():
    assert prediction_rows(table(), None, 0) == list(range(8))
    assert prediction_rows(table(), 5, 0) == list(range(8))
    drawn = {tuple(prediction_rows(table(), 1, seed)) for seed in range(20)}
    assert drawn == {(0, 1, 3, 4, 6), (0, 1, 2, 4, 5, 7)}
    assert prediction_rows(table(), 1, 3) == prediction_rows(table(), 1, 3)
    with pytest.raises(AtlasError, match="no question of depth 3"):
        prediction_rows(table().query("depth < 3"), 1, 0)
