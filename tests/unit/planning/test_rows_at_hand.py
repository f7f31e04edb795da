"""Rows for a forecast: those of every kind of data set that lies here, as sample and limit leave them."""

import gzip
import json

import pandas as pd
import pytest
import yaml

from atlas.planning import rows_at_hand as module
from atlas.planning.estimates import PAIRS, ROWS, Job, Size
from atlas.planning.resources import STAGES, stage_options
from atlas.planning.rows_at_hand import Rows, planned_rows, rows_at_hand
from atlas.results.provenance import write_provenance
from places import ROOT

TEXT = [{"text": f"text\nof {i}"} for i in range(64)]


def entry(source, kind="text", **others):
    path = {"path": source} if isinstance(source, str) else source
    return {"kind": kind, "source": path, "sample": None, "limit": None, **others}


def rows(*arguments, **others):
    found = rows_at_hand(*arguments, **others)
    return None if found is None else found.rows


def test_the_shipped_data_sets_are_counted_by_their_rows():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())["datasets"]
    found = {key: rows_at_hand(one, ROOT) for key, one in config.items() if "path" in one["source"]}
    for key, file in {
        "marked-reviews": "marked/reviews.jsonl",
        "famous-passages": "membership/passages.jsonl",
        "depth": "depth/depth.jsonl",
    }.items():
        assert found.pop(key).rows == len(pd.read_json(ROOT / "data" / file, lines=True))
    pairs, relations = found.pop("relations")
    files = [file for file in (ROOT / "data/relations").glob("*.csv") if file.stem != "relations"]
    assert relations == len(files)
    # what tokenizers leave of them: as many as a plan counts where it knows nothing
    assert pairs == pytest.approx(PAIRS, rel=0.05)
    assert pairs < sum(len(pd.read_csv(file)) for file in files)
    assert not found


def test_rows_of_every_format_are_counted_and_not_its_lines(tmp_path):
    frame = pd.DataFrame(TEXT)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in TEXT))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "a.json").write_text(json.dumps({"rows": TEXT}, indent=1))
    (tmp_path / "a.txt").write_text("line\n" * 63 + "the last one")
    frame.to_csv(tmp_path / "a.csv", index=False)  # a header, and line breaks in cells
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "a.arrow")
    for file in sorted(tmp_path.iterdir()):
        assert rows(entry(file.name, records="rows" if file.suffix == ".json" else None), tmp_path) == 64, file.name
    assert rows(entry("a.parquet", format="parquet", limit=10), tmp_path) == 10
    assert rows(entry("a.jsonl", limit=100), tmp_path) == 64
    assert rows(entry("a.jsonl", sample={"n": 7, "seed": 0}), tmp_path) == 7
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in range(2):
        frame[shard::2].to_parquet(shards / f"train-0000{shard}-of-00002.parquet")
    assert rows(entry("shards"), tmp_path) == 64


def test_lines_of_a_large_file_are_counted_where_rows_are_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 100)
    (tmp_path / "a.jsonl").write_text("{}\n" * 64)
    (tmp_path / "a.json").write_text(json.dumps(TEXT))
    assert rows(entry("a.jsonl"), tmp_path) == 64
    assert rows(entry("a.json"), tmp_path) is None


def test_graphs_and_relations_are_counted_in_their_rows(tmp_path):
    (tmp_path / "depth.jsonl").write_text("{}\n" * 64)
    depth = entry("depth.jsonl", "depth", limit=5)
    assert rows(depth, tmp_path) == planned_rows(depth).rows == 5 * 7
    assert rows({**depth, "limit": 50}, tmp_path) == 64
    (tmp_path / "pairs.csv").write_text("relation,source,target\n" + "a,x,y\n" * 600 + "b,x,y\n" * 400)
    (tmp_path / "b.csv").write_text("source,target\n" + "x,y\n" * 100)
    assert rows_at_hand(entry("pairs.csv", "relations"), tmp_path) == Rows(280, 2)
    assert rows_at_hand(entry("pairs.csv", "relations", limit=10), tmp_path) == Rows(20, 2)
    listed = {name: {"file": name, "category": "Knowledge"} for name in ("pairs.csv", "b.csv")}
    folder = entry(".", "relations", relations=listed)
    (tmp_path / "depth.jsonl").unlink()
    assert rows_at_hand(folder, tmp_path) == Rows(308, 2)
    assert planned_rows(folder) == Rows(PAIRS // 10, 2)
    assert planned_rows(entry("nowhere", "relations", limit=10)) == Rows(200, 20)
    assert planned_rows(entry("nowhere", "marked")).rows == ROWS


def test_a_published_folder_of_questions_is_counted_by_its_questions(tmp_path):
    for table, number in (("questions", 9), ("nodes", 20), ("node_to_q", 20)):
        (tmp_path / table).mkdir()
        pd.DataFrame({"qid": range(number)}).to_parquet(tmp_path / table / "train.parquet")
    assert rows(entry(".", "depth"), tmp_path) == 9


def test_what_an_earlier_run_has_brought_in_is_counted_if_it_is_of_this_source(tmp_path):
    hub = {"hub": {"repo": "some/data", "revision": "0" * 40}}
    (tmp_path / "a.jsonl").write_text("{}\n" * 64)
    write_provenance(tmp_path, {"source": hub, "files": {"a.jsonl": {}}})
    assert rows(entry(hub), tmp_path, tmp_path) == 64
    assert rows(entry([hub, {"path": "nowhere"}]), tmp_path, tmp_path) == 64
    assert rows(entry({"hub": {**hub["hub"], "revision": "1" * 40}}), tmp_path, tmp_path) is None
    assert rows(entry([hub, {"path": "a.jsonl"}]), tmp_path) == 64


def test_what_is_not_here_or_cannot_be_read_is_not_known(tmp_path):
    (tmp_path / "damaged.parquet").write_bytes(b"\n" * 9)
    (tmp_path / "odd.jsonl").write_text("{\n")
    for source in ("damaged.parquet", "odd.jsonl", "none.jsonl", {"hub": {}}):
        assert rows(entry(source, limit=5), tmp_path, tmp_path / "nowhere") is None


# Stages whose work is set by options alone: sequences that are drawn, or texts of which there must be as many.
BY_OPTIONS = {"extract_sinks", "extract_head_types"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_work_of_every_stage_follows_the_rows_that_there_are(stage):
    """With few rows, as many times the rows as times the work (beside what the map of weights does for no pair)."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())["analyses"]
    size = Size(134_515_008, 30, 270, 64, 192, 576, 49_152)
    options = stage_options(stage, config.__getitem__)
    work = [STAGES[stage].flops(Job(size, options, rows=number, relations=2)) for number in (0, 10, 20)]
    assert (work[2] - work[1] == pytest.approx(work[1] - work[0]) and work[2] > work[1]) != (stage in BY_OPTIONS)
