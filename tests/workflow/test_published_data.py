"""Data in the layouts of the sources, from a server: pairs in a file for each relation, questions without a graph."""

import csv
import hashlib
import json

import pandas as pd
import pytest

from projects import copy_project
from serving import Server

RELATIONS = {"copied/copied.json": ("copying", "Algorithmic"), "synonyms.json": ("word_to_synonym", "Linguistic")}


def published(project, server):
    """What configs/paper.yaml says of data sets, with the tiny data served in the same layouts."""
    tiny, files = project.folder / "tiny", {}
    for path, (name, _) in RELATIONS.items():
        with (tiny / "relations" / f"{name}.csv").open() as file:
            pairs = [[row["source"], row["target"]] for row in csv.DictReader(file)]
        # A pair twice, and a second target of one source, as published lists may have them.
        files[path] = json.dumps([*pairs, pairs[0], [pairs[0][0], pairs[1][1]]], indent=1).encode()
    rows = [json.loads(line) for line in (tiny / "graph.jsonl").read_text().splitlines()]
    known = ("depth", "question", "answer")
    answers = json.dumps({row["id"]: {"qid": row["id"], **{key: row[key] for key in known}} for row in rows}, indent=1)
    for path, content in files.items():
        server.add(f"/lists/{path}", content)
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    address = server.add("/answers.json", answers.encode())
    return {
        "alone": {
            "label": "questions alone",
            "kind": "depth",
            "source": {"url": {"url": address, "sha256": hashlib.sha256(answers.encode()).hexdigest()}},
            "format": "json",
            "columns": {"id": "qid"},
        },
        "lists": {
            "label": "published lists",
            "kind": "relations",
            "source": {"url": {"url": f"{server.url}/lists", "files": hashes}},
            "format": "json",
            "relations": {name: {"file": path, "category": kind} for path, (name, kind) in RELATIONS.items()},
        },
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A project that has drawn boxes of questions alone over densities of a graph, and relations of several files."""
    project = copy_project(tmp_path_factory.mktemp("published"))
    with Server() as server:

        def change(config):
            config["datasets"] |= published(project, server)
            config["analyses"]["mink"] |= {"datasets": ["alone", "graph"], "answered_datasets": ["graph"]}
            config["analyses"]["head_categories"]["dataset"] = "lists"
            config["analyses"]["heads"]["datasets"] = {"head_categories": "lists"}
            config["figures"]["mink_depth"] = {
                "dataset": "alone", "kde_dataset": "graph", "kde_models": ["tiny"], "columns": 2,
                "labels": {"tiny": "Another name", "alone": "Questions"},
            }  # fmt: skip
            config["figures"]["alone"] = {"plot": "mink_depth", "dataset": "alone", "kde_models": []}

        project.configure(change)
        targets = [f"figures/{name}.svg" for name in ("mink_depth", "alone", "head_categories")]
        process = project.run(*targets, "results/tables/mink_trend.parquet")
    assert process.returncode == 0, process.stdout
    return project


def caption(project, figure):
    return (project.folder / "results" / "captions" / f"{figure}.txt").read_text()


@pytest.mark.slow
def test_boxes_stand_on_questions_alone_and_densities_on_the_graph(drawn):
    trend = pd.read_parquet(drawn.folder / "results" / "tables" / "mink_trend.parquet")
    named = trend[trend["k_percent"] == 20].groupby(["dataset", "depth"])["predecessors"].first()
    assert named["alone"].tolist() == [0, 0, 0]
    assert named["graph"].tolist() == [0, 48, 24]
    same = trend.pivot_table(index=["model", "k_percent", "depth"], columns="dataset", values="median")
    assert same["alone"].to_numpy() == pytest.approx(same["graph"].to_numpy())  # the same texts
    said = caption(drawn, "mink_depth")
    assert "Data: Questions, which names no predecessors, so that it has no graphs and no gaps." in said
    assert "Data of it: tiny graph. Another name: 9 D3 questions (3 not predicted)." in said
    assert "Another name" in (drawn.folder / "figures" / "mink_depth.svg").read_text()
    assert "Tiny Llama:" in caption(drawn, "alone")
    # What is not to be answered is not generated either.
    assert {path.name for path in drawn.folder.glob("results/activations/tiny/answers/*.parquet")} == {"graph.parquet"}


@pytest.mark.slow
def test_relations_come_from_a_file_each(drawn):
    pairs = pd.read_parquet(drawn.folder / "results" / "metrics" / "tiny" / "relation_pairs" / "lists.parquet")
    assert pairs["relation"].tolist() == ["copying", "word_to_synonym"]
    assert pairs["category"].tolist() == ["Algorithmic", "Linguistic"]
    assert pairs["given"].tolist() == [32, 32]
    assert pairs["kept"].tolist() == [31, 31]
    assert pairs["duplicate"].tolist() == [1, 1]
    assert "Data: published lists." in caption(drawn, "head_categories")


@pytest.mark.slow
def test_judged_answers_to_questions_alone_have_accuracies_and_no_gaps(drawn):
    drawn.configure(lambda config: config["analyses"]["mink"].update(answered_datasets=["alone"]))
    drawn.configure(lambda config: config["figures"].update(mink_depth={"dataset": "alone", "kde_models": ["tiny"]}))
    process = drawn.run("figures/mink_depth.svg", "results/tables/depth_accuracy.parquet")
    assert process.returncode == 0, process.stdout
    accuracy = pd.read_parquet(drawn.folder / "results" / "tables" / "depth_accuracy.parquet")
    assert accuracy[accuracy["model"] == "tiny"]["questions"].tolist() == [9, 9, 9]
    assert pd.read_parquet(drawn.folder / "results" / "metrics" / "tiny" / "score_gap" / "alone.parquet").empty
    assert "Lower row: no score gaps, because the data names no predecessors." in caption(drawn, "mink_depth")
    assert "no predecessors in the data" in (drawn.folder / "figures" / "mink_depth.svg").read_text()
