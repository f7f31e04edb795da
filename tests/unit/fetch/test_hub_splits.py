"""Which files of a repository are a split: by its card, by names, by patterns; what fits two readings is refused."""

import json
import random
import re

import pytest
from fsspec.utils import glob_translate

from atlas.data.kinds import prepare
from atlas.data.sources import materialise_dataset
from atlas.errors import AtlasError
from atlas.fetch.hub_choice import choose_rows, hub_problems
from atlas.fetch.hub_splits import matching
from serving import Server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARDS = [f"data/train-0000{number}-of-00003.parquet" for number in range(3)]


def chosen(names, card=None, **asked):
    told = {"patterns": None, "split": None, "config": None} | asked
    return choose_rows(names, "data set a/b of the hub", card or {}, **told)


CARDS = {
    "plain": {"config_name": "main", "data_files": [{"split": "test", "path": "main/test-*"}]},
    "list": {"config_name": "main", "data_files": [{"split": "test", "path": ["main/test-*", "x/*.jsonl"]}]},
    "mapping": {"config_name": "main", "data_files": {"test": "main/test-*"}},
    "folder": {"config_name": "main", "data_dir": "main", "data_files": [{"split": "test", "path": "test-*"}]},
    "names": {"config_name": "main", "data_dir": "main"},
}
FILES = ["main/test-00000-of-00001.jsonl", "main/train-00000-of-00001.jsonl", "other/test-00000-of-00001.jsonl"]


@pytest.mark.parametrize("card", CARDS)
def test_the_card_says_what_a_split_is(card):
    names = [*FILES, "x/a.jsonl", "README.md"]
    expected = [FILES[0]] + ["x/a.jsonl"] * (card == "list")
    assert chosen(names, {"configs": [CARDS[card]]}, split="test") == expected
    others = [CARDS[card], {"config_name": "socratic", "data_files": "other/*"}]
    assert chosen(names, {"configs": others}, split="test", config="main") == expected
    assert chosen(names, {"configs": others}, split="train", config="socratic") == [FILES[2]]  # a bare pattern
    with pytest.raises(AtlasError, match=r"several configurations \(main, socratic\): give one as `config`"):
        chosen(names, {"configs": others}, split="test")
    assert chosen(names, {"configs": [others[0] | {"default": True}, others[1]]}, split="test") == expected
    with pytest.raises(AtlasError, match=r"no configuration 'mian' \(nearest: main\); it has main, socratic"):
        chosen(names, {"configs": others}, split="test", config="mian")


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (SHARDS, {"split": "train"}, SHARDS),
        ([*SHARDS, "data/train_sft-00000-of-00001.parquet"], {"split": "train"}, SHARDS),
        # as the hub's own conversion to parquet lays files out
        (["en/train/0000.parquet", "en/train/0001.parquet", "de/train/0.parquet"], {"config": "en", "split": "train"},
         ["en/train/0000.parquet", "en/train/0001.parquet"]),
        (["default/train_sft/0000.parquet", "default/train/0000.parquet"], {"config": "default", "split": "train"},
         ["default/train/0000.parquet"]),
        (["train.jsonl", "dev.jsonl", "test.jsonl"], {"split": "validation"}, ["dev.jsonl"]),
        (["my-data-eval.csv", "my-data-training.csv"], {"split": "test"}, ["my-data-eval.csv"]),
        (["rows.jsonl", "README.md"], {"split": "train"}, ["rows.jsonl"]),
        (["a/x.jsonl", "a/b/y.jsonl", "z.jsonl"], {"patterns": ["a/**/*.jsonl"]}, ["a/b/y.jsonl", "a/x.jsonl"]),
        (["a/x.jsonl", "a/b/y.jsonl", "z.jsonl"], {"patterns": ["*.jsonl", "a/*.jsonl"]}, ["a/x.jsonl", "z.jsonl"]),
        (SHARDS, {"patterns": ["data/train-0000[01]-*"]}, SHARDS[:2]),
        # the configuration's name is no word for a split
        (["test [a]/train.csv", "test [a]/dev.csv"], {"config": "test [a]", "split": "train"}, ["test [a]/train.csv"]),
    ],
)  # fmt: skip
def test_names_say_what_a_split_is(names, asked, expected):
    assert chosen(names, **asked) == expected


@pytest.mark.parametrize(
    ("names", "card", "asked", "message"),
    [
        (SHARDS[:2], {}, {"split": "train"}, "has 2 of 3 shards of data/train for the split 'train'"),
        (SHARDS, {}, {"split": "test"}, "no split 'test' by the names of its files; its data files are data/"),
        (["train_sft/0.parquet", "train_gen/0.parquet"], {}, {"split": "train"}, "files of different names"),
        (["train.jsonl", "train.csv"], {}, {"split": "train"}, "files of different names"),
        (["a.jsonl", "b.csv"], {}, {"patterns": ["*"]}, r"files of several types there \(a.jsonl, b.csv\)"),
        (SHARDS, {}, {"patterns": ["data/train-*", "data/tset-*"]}, "no data file like 'data/tset-"),
        (["load.py", "x.bin"], {}, {"patterns": ["*"]}, "has no data file of a known type"),
        (["a.jsonl"], {}, {"patterns": ["x**/a"]}, "is no glob pattern"),
        (SHARDS, {}, {"config": "en", "split": "train"}, "has no configuration 'en'; its data files are"),
        (SHARDS, {"configs": [{"config_name": "a", "data_dir": ["x"]}]}, {"split": "train"}, "a `data_dir` that"),
        (SHARDS, {"configs": [{"config_name": "a", "data_dir": "x"}]}, {"split": "train"}, "has no folder"),
        (["load.py"], {}, {"split": "train"}, "has no data file of a known type"),
        (SHARDS, {"configs": "x"}, {"split": "train"}, "card with `configs` that cannot be read"),
        (SHARDS, {"configs": [{"config_name": "a", "data_files": [{"split": 1}]}]}, {"split": "train"},
         "`data_files` that cannot be read"),
        (SHARDS, {"configs": [{"config_name": "a", "data_files": "hf://datasets/x/y.csv"}]}, {"split": "train"},
         "card that names 'hf://datasets/x/y.csv', no path inside it"),
        (SHARDS, {"configs": [{"config_name": "a", "data_files": "../x"}]}, {"split": "train"}, "no path inside it"),
        (SHARDS, {"configs": [{"config_name": "a", "data_files": "data/*"}]}, {"split": "tarin"},
         r"no split 'tarin' in 'a' \(nearest: train\); it has train"),
    ],
)  # fmt: skip
def test_what_is_no_split_is_one_sentence(names, card, asked, message):
    with pytest.raises(AtlasError, match=message):
        chosen(names, card, **asked)


def test_patterns_are_those_of_globs_however_many_stars_they_have():
    """Against an independent reading of globs; what a regular expression would never get through ends at once."""
    draw = random.Random(0)
    told = set()
    for _ in range(2000):
        names = {"/".join(draw.choices(["a", "b", "ab", "x.csv"], k=draw.randint(1, 4))) + ".csv" for _ in range(5)}
        pattern = "/".join(draw.choices(["**", "*", "a*", "?", "[ab]", "*.csv", "a"], k=draw.randint(1, 4)))
        expected = sorted(name for name in names if re.compile(glob_translate(pattern)).match(name))
        told.add(bool(expected))
        if expected:
            assert matching(names, [pattern], "x") == expected, pattern
        else:
            with pytest.raises(AtlasError, match="no data file like"):
                matching(names, [pattern], "x")
    assert told == {True, False}
    deep = "/".join(["a" * 40] * 60) + ".csv"
    for pattern in ("**/a*/" * 25 + "b", "/".join(["*a*a*a*a*b"] * 3), "**/" * 60 + "*a*a*a*a*a*b"):
        with pytest.raises(AtlasError, match="no data file like"):
            matching([deep], [pattern], "x")


@pytest.mark.parametrize(
    ("options", "model", "message"),
    [
        ({"split": "test"}, True, ".split: data sets have it, models do not"),
        ({"split": "test", "file": "x"}, False, ".split: file says already"),
        ({"patterns": ["x"], "files": {"x": "0"}}, False, ".patterns: files says already"),
        ({"patterns": ["x"], "split": "test"}, False, ".patterns: split says already"),
        ({"config": "en"}, False, ".config: a configuration has several splits"),
        ({"patterns": ["../x"]}, False, ".patterns: '../x' is no plain path"),
        ({"config": "en", "split": "test"}, False, None),
    ],
)
def test_options_that_do_not_go_together(options, model, message):
    said = list(hub_problems(options, model))
    assert said == [] if message is None else len(said) == 1 and said[0].startswith(message)


CARD = b"""---
configs:
- config_name: main
  data_files:
  - split: test
    path: main/test-*
---
# Rows
"""


@pytest.fixture
def hub(monkeypatch):
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        files = {
            f"main/test-0000{number}-of-00003.jsonl": json.dumps({"text": f"row {number}"}).encode()
            for number in range(3)
        }
        files |= {"main/train-00000-of-00001.jsonl": b"x", "LICENSE.txt": b"free", "README.md": CARD}
        server.add_repository("some/rows", COMMIT, files, kind="datasets")
        yield server


def test_the_shards_of_a_split_are_one_table_pinned_by_the_commit(hub, tmp_path):
    source = {"hub": {"repo": "some/rows", "revision": COMMIT, "config": "main", "split": "test"}}
    raw = materialise_dataset(source, tmp_path / "d", log=lambda _: None)
    table, report = prepare("text", {}, raw)
    assert list(table["text"]) == ["row 0", "row 1", "row 2"]
    assert list(table["id"]) == ["0", "1", "2"]
    assert list(report["files"]) == [f"main/test-0000{number}-of-00003.jsonl" for number in range(3)]
    assert not (raw / "main" / "train-00000-of-00001.jsonl").exists()
    assert json.loads((raw / "provenance.json").read_text())["source"] == source
    asked = [path for method, path, _ in hub.requests if method == "GET" and "train" in path]
    assert asked == []


def test_some_shards_by_patterns(hub, tmp_path):
    source = {"hub": {"repo": "some/rows", "revision": COMMIT, "patterns": ["main/test-0000[02]-*"]}}
    table, _ = prepare("text", {}, materialise_dataset(source, tmp_path / "d", log=lambda _: None))
    assert list(table["text"]) == ["row 0", "row 2"]


def test_a_shard_with_other_bytes_than_the_commit_has(hub, tmp_path):
    path = f"/datasets/some/rows/resolve/{COMMIT}/main/test-00001-of-00003.jsonl"
    hub.resources[path].content = hub.resources[path].content.replace(b"row", b"raw")
    source = {"hub": {"repo": "some/rows", "revision": COMMIT, "split": "test"}}
    with pytest.raises(
        AtlasError, match=r"test-00001-of-00003\.jsonl of data set some/rows of the hub arrives damaged"
    ):
        materialise_dataset(source, tmp_path / "d", log=lambda _: None)
    assert not (tmp_path / "d").exists()


def test_a_hub_that_lists_no_hash_pins_nothing(hub, tmp_path):
    listing = hub.resources[f"/api/datasets/some/rows/tree/{COMMIT}"]
    listing.content = json.dumps([entry | {"oid": ""} for entry in json.loads(listing.content)]).encode()
    source = {"hub": {"repo": "some/rows", "revision": COMMIT, "split": "test"}}
    with pytest.raises(AtlasError, match="is listed without a hash"):
        materialise_dataset(source, tmp_path / "d", log=lambda _: None)


@pytest.mark.parametrize("card", [b"---\nconfigs: [\n---\n", b"---\n- a\n---\n", b"---\n\xff\n---\n"])
def test_a_card_that_cannot_be_read(hub, tmp_path, card):
    hub.add_repository("some/rows", COMMIT, {"README.md": card, "test.jsonl": b'{"text": "a"}'}, kind="datasets")
    source = {"hub": {"repo": "some/rows", "revision": COMMIT, "split": "test"}}
    with pytest.raises(AtlasError, match=r"has a card in README\.md that cannot be read"):
        materialise_dataset(source, tmp_path / "d", log=lambda _: None)
