"""Servers that answer wrongly, mirrors and wheels with names that lead elsewhere."""

import hashlib
import io
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.data.sources import materialise_dataset
from atlas.fetch.hub_choice import choose_rows
from atlas.fetch.package import extract_members
from atlas.fetch.url import download_url
from hostile import Refused, answer, examples, files_below, nasty_texts, values
from serving import Server

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()
names = st.one_of(
    st.sampled_from(
        [
            "../victim",
            "../../victim.jsonl",
            "/tmp/victim",
            "a/../../victim",
            "a/b.jsonl",
            "a//b",
            "./a",
            "..",
            ".",
            "a\\b",
            *("provenance.json", ".hidden", "x.jsonl", "a\0b", "C:\\x", "a/./b", "~/x", "a" * 300),
        ]
    ),
    nasty_texts,
)


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@examples(30, 0.1)
@given(st.data())
def test_a_download_has_its_hash_or_is_not_there(server, data):
    served = data.draw(st.sampled_from([CONTENT, CONTENT, CONTENT[:-1], CONTENT + b"x", b"", b"<html>"]))
    options = {
        "status": data.draw(st.sampled_from([200, 200, 200, 200, 204, 206, 301, 404, 416, 418, 500])),
        "failures": data.draw(st.lists(st.sampled_from([429, 500, 503, 404, 206]), max_size=2)),
        "cut_after": data.draw(st.sampled_from([None, None, 0, 1, 5000])),
        "cuts": data.draw(st.integers(0, 3)),
        "ranges": data.draw(st.booleans()),
        "headers": data.draw(
            st.sampled_from([{}, {}, {"Content-Range": "bytes 7-9/10"}, {"Content-Encoding": "gzip"}, {"Location": "file:///etc/passwd"}])
        ),
    }  # fmt: skip
    url = server.add("/x.bin", served, **options)
    with tempfile.TemporaryDirectory() as place:
        target = Path(place, "d", "x.bin")
        part = data.draw(st.sampled_from([None, b"", CONTENT[:100], b"other", CONTENT + b"more"]))
        if part is not None:
            target.parent.mkdir()
            target.with_name("x.bin.part").write_bytes(part)
        found = answer(download_url, url, SHA, target, retries=2, backoff=0)
        left = files_below(place)
        assert set(left) <= {"d/x.bin", "d/x.bin.part"}
        if isinstance(found, Refused):
            assert "d/x.bin" not in left
        else:
            assert left == {"d/x.bin": CONTENT}


@examples(40, 0.05)
@given(st.data())
def test_names_of_mirrors_stay_in_their_folder(data):
    with tempfile.TemporaryDirectory() as place:
        project = Path(place, "a", "b")
        project.mkdir(parents=True)
        Path(place, "a", "victim.jsonl").write_bytes(b"precious")
        mine = project / "mine.jsonl"
        mine.write_bytes(CONTENT)
        name = data.draw(names)
        closed = {"url": "http://127.0.0.1:9/x"}
        first = data.draw(
            st.sampled_from(
                [
                    {"url": {**closed, "file": name, "sha256": SHA}},
                    {"url": {**closed, "files": {name: SHA}}},
                    {"hub": {"repo": "a/b", "files": {name: SHA}}},
                    {"hub": {"repo": "a/b", "file": name, "sha256": SHA}},
                ]
            )
        )
        # The mirror that serves comes first: what is asked of the closed port would be tried again for long.
        sources = [{"path": str(mine)}, first]
        outside = files_below(place)
        found = answer(materialise_dataset, sources, project / "results" / "d", log=lambda _: None)
        after = files_below(place)
        inside = {key for key in after if key.startswith("a/b/results/d/")}
        assert {key: after[key] for key in after.keys() - inside if ".staging" not in key} == outside
        if isinstance(found, Refused):
            assert not inside
        else:
            assert (project / "results" / "d" / (name or "x")).read_bytes() == CONTENT
            assert len(inside) == 2


REPOSITORY = ["data/train-00000-of-00001.csv", "test/a.csv", "x/dev.csv", "x/train.csv", "x.jsonl", "README.md"]
words = st.one_of(
    st.sampled_from(["train", "test", "x", "data", "data/*", "**/*.csv", "default", "/x", "./x"]), nasty_texts
)
parts = st.one_of(words, values, st.lists(words, max_size=3))
told = st.one_of(
    parts,
    st.lists(st.one_of(values, st.fixed_dictionaries({"split": words, "path": parts})), max_size=3),
    st.dictionaries(words, parts, max_size=3),
)
configs = st.fixed_dictionaries(
    {"config_name": words}, optional={"data_files": told, "data_dir": parts, "default": values}
)
cards = st.fixed_dictionaries({"configs": st.one_of(values, st.lists(st.one_of(configs, configs, values), max_size=3))})


@examples(150, 0.1)
@given(cards, st.one_of(st.none(), words), words, st.one_of(st.none(), st.lists(words, min_size=1, max_size=3)))
def test_a_card_names_files_of_its_repository_or_is_refused(card, config, split, patterns):
    asked = {"patterns": patterns} if patterns else {"config": config, "split": split}
    asked = {"patterns": None, "config": None, "split": None} | asked
    found = answer(choose_rows, REPOSITORY, "data set a/b of the hub", card, **asked)
    if not isinstance(found, Refused):
        assert found == sorted(set(found))
        assert found
        assert set(found) < set(REPOSITORY)


def wheel(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, link in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = ((stat.S_IFLNK if link else stat.S_IFREG) | 0o644) << 16
            archive.writestr(info, content)
    return stream.getvalue()


@examples(60, 0.1)
@given(st.data())
def test_members_of_a_wheel_stay_in_their_folder(data):
    known = st.sampled_from(["p/a.jsonl", "p/b.jsonl"])
    members = data.draw(
        st.lists(
            st.tuples(st.one_of(known, names.filter(bool)), st.sampled_from([CONTENT, b"x"]), st.booleans()), max_size=4
        )
    )
    try:
        content = wheel([*members, ("p/c.jsonl", CONTENT, False)])
    except (ValueError, UnicodeError):
        return
    if data.draw(st.booleans()):
        from hostile import damaged

        content = data.draw(damaged(content))
    asked = data.draw(st.dictionaries(st.one_of(known, st.just("p/c.jsonl"), names), st.just(SHA), max_size=2))
    with tempfile.TemporaryDirectory() as place:
        file, folder = Path(place, "x.whl"), Path(place, "in", "out")
        file.write_bytes(content)
        found = answer(extract_members, file, asked, folder)
        left = {key: held for key, held in files_below(place).items() if key != "x.whl"}
        if isinstance(found, Refused):
            assert not left
        else:
            assert all(key.startswith("in/out/") and held == CONTENT for key, held in left.items())
            assert len(left) == len(asked)
