"""The published layout of a depth data set, and graphs that cannot be used."""

import json

import pandas as pd
import pytest

from atlas.analyses.mink.depth_graph import graph_of
from atlas.data.kinds import prepare
from atlas.data.sources import materialise_dataset
from atlas.errors import AtlasError
from atlas.results.files import read_frame, write_frame

QUESTIONS = [
    ("d3_q1", 3, "How would you do it all?"), ("d2_q1", 2, "How is it done?"), ("d1_q1", 1, "What is it?"),
    ("d1_q2", 1, "What is the other?"),
]  # fmt: skip
# d2_q1 stands in two graphs, with another predecessor in each
NODES = [
    ("1_d3", 3, ["1_d2_n1"]), ("1_d2_n1", 2, ["1_d1_n1"]), ("1_d1_n1", 1, []),
    ("2_d2_n1", 2, ["2_d1_n1", "2_d1_n2"]), ("2_d1_n1", 1, []), ("2_d1_n2", 1, []),
]  # fmt: skip
NODE_TO_Q = {
    "1_d3": "d3_q1", "1_d2_n1": "d2_q1", "1_d1_n1": "d1_q1", "2_d2_n1": "d2_q1", "2_d1_n1": "d1_q2", "2_d1_n2": "d1_q1",
}  # fmt: skip


def write(folder, questions=QUESTIONS, nodes=NODES, node_to_q=None):
    tables = {
        "questions": [
            {"qid": q, "depth": d, "domain": "x", "question": text, "answer": f"answer {q}", "tutoreval_data": None,
             "augmented": False} for q, d, text in questions
        ],
        "nodes": [
            {"nodeid": n, "group": n.split("_")[0], "depth": d, "direct_predecessors": below, "direct_successors": []}
            for n, d, below in nodes
        ],
        "node_to_q": [{"nodeid": n, "qid": q} for n, q in (node_to_q or NODE_TO_Q).items()],
    }  # fmt: skip
    for name, rows in tables.items():
        (folder / name).mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(folder / name / "test-00000-of-00001.parquet")
    return folder


def test_questions_get_the_predecessors_of_all_their_nodes(tmp_path):
    write(tmp_path / "hub")
    (tmp_path / "hub" / "README.md").write_text("a card")
    raw = materialise_dataset({"path": str(tmp_path / "hub")}, tmp_path / "raw")
    table, report = prepare("depth", {}, raw)
    assert table["id"].tolist() == ["d3_q1", "d2_q1", "d1_q1", "d1_q2"]
    assert table["depth"].tolist() == [3, 2, 1, 1]
    assert table["predecessors"].tolist() == [["d2_q1"], ["d1_q1", "d1_q2"], [], []]
    assert table["answer"][1] == "answer d2_q1"
    assert table["domain"].tolist() == ["x"] * 4
    assert table["nodes"][0] == [["1_d3", "1_d2_n1"]]
    assert table["nodes"][1] == [["1_d2_n1", "1_d1_n1"], ["2_d2_n1", "2_d1_n1", "2_d1_n2"]]
    assert table["nodes"][2] == [["1_d1_n1"], ["2_d1_n2"]]
    assert sorted(report["files"]) == [f"{t}/test-00000-of-00001.parquet" for t in ("node_to_q", "nodes", "questions")]
    assert report["rows_used"] == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": [*NODES, ("3_d1", 1, [])]}, "'3_d1' has no line in node_to_q"),
        ({"nodes": [("1_d3", 3, ["9_d2"]), *NODES[1:]]}, "names '9_d2', which is no node"),
        ({"nodes": [("1_d3", 2, ["1_d2_n1"]), *NODES[1:]]}, "has depth 2, but its question 'd3_q1' has depth 3"),
        ({"node_to_q": {**NODE_TO_Q, "1_d3": "d3_q9"}}, "'d3_q9', which is no qid of questions"),
        ({"nodes": [*NODES, NODES[0]]}, "nodeid is '1_d3', as in"),
    ],
)
def test_tables_that_do_not_fit_together_are_named(tmp_path, changes, message):
    write(tmp_path / "raw", **changes)
    with pytest.raises(AtlasError, match=message):
        prepare("depth", {}, tmp_path / "raw")


def rows(tmp_path, *changed):
    base = {
        "a": {"depth": 1, "predecessors": []},
        "b": {"depth": 2, "predecessors": ["a"]},
        "c": {"depth": 3, "predecessors": ["b"]},
    }
    for name, values in changed:
        base[name] = {**base.get(name, {}), **values}
    file = tmp_path / "graph.jsonl"
    text = [json.dumps({"id": name, "question": "?", "answer": "!", **values}) for name, values in base.items()]
    file.write_text("\n".join(text))
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("a", {"predecessors": ["c"]}), "predecessor must be exactly one depth lower"),  # a cycle
        (("b", {"predecessors": ["b"]}), "predecessor must be exactly one depth lower"),  # a cycle of one
        (("c", {"predecessors": ["a"]}), "predecessor must be exactly one depth lower"),
        (("b", {"predecessors": ["aa"]}), "names 'aa', which is no id"),
        (("c", {"depth": 4}), "'depth' is 4; the maximum is 3"),
        (("a", {"depth": 0}), "'depth' is 0; the minimum is 1"),
        (("a", {"depth": 1.5}), "'depth' must be of type integer"),
    ],
)
def test_graphs_that_are_none_are_refused(tmp_path, change, message):
    with pytest.raises(AtlasError, match=message):
        prepare("depth", {}, rows(tmp_path, change))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([[["a"]], [["a"]], [["c", "a"]]], "field 'nodes' names 'a', as in .* already; a node belongs to one question"),
        ([[["a"]], [["b"]], [["c", "z"]]], "'c' .depth 2. builds on 'z', which is no node"),
        ([[["a"]], [["b", "a"]], [["c"]]], "'b' .depth 1. builds on 'a', which is a node of depth 1"),
        ([[["a"]], [[]], [["c"]]], "field 'nodes'"),
    ],
)
def test_nodes_that_fit_nothing_are_refused(nodes, said, tmp_path):
    rows = [
        {"id": f"q{i}", "depth": depth, "question": "Why?", "answer": "So.", "predecessors": [], "nodes": own}
        for i, (depth, own) in enumerate(zip((1, 1, 2), nodes, strict=True))
    ]
    (tmp_path / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(AtlasError, match=said):
        prepare("depth", {}, tmp_path / "g.jsonl")


def test_nodes_and_domains_survive_storage(tmp_path):
    table, _ = prepare("depth", {}, materialise_dataset({"path": str(write(tmp_path / "hub"))}, tmp_path / "raw"))
    write_frame(tmp_path / "x.parquet", table, {})
    again = read_frame(tmp_path / "x.parquet")
    nodes = [[list(node) for node in nodes] for nodes in again["nodes"]]
    assert nodes == table["nodes"].tolist()
    for by in ("question", "node"):
        stored, fresh = graph_of(again, by), graph_of(table, by)
        assert (stored.below, stored.above, stored.row.tolist()) == (fresh.below, fresh.above, fresh.row.tolist())
