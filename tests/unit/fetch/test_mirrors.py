"""Sources with mirrors: the first that has the right bytes serves, and where none does each try is named."""

import hashlib
import json
import zipfile

import pytest

from atlas.data.sources import materialise_dataset
from atlas.errors import AtlasError
from atlas.fetch.hub import download_hub, pin
from atlas.fetch.mirrors import shared_files, stated_files
from atlas.models.folder import check_model_folder
from atlas.models.sources import materialise_model
from serving import Server
from tiny_models import save_folder, save_gguf

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROWS = b'{"text": "a"}\n'


def sha(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("atlas.fetch.url.BACKOFF", 0.0)
    with Server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def url(address, content=ROWS, file=None):
    return {"url": {"url": address, "sha256": sha(content), **({"file": file} if file else {})}}


def bring(sources, tmp_path, said=None):
    said = [] if said is None else said
    return materialise_dataset(sources, tmp_path / "d", staging=tmp_path / "staging", log=said.append)


def record(folder):
    return json.loads((folder / "provenance.json").read_text())


def test_first_that_serves_is_taken_and_named(server, tmp_path):
    said = []
    good = server.add("/b/rows.jsonl", ROWS)
    never = server.add("/c/rows.jsonl", ROWS)
    sources = [url(server.url + "/a/rows.jsonl"), url(good), url(never)]
    folder = bring(sources, tmp_path, said)
    assert (folder / "rows.jsonl").read_bytes() == ROWS
    assert record(folder)["source"] == sources[1]
    assert record(folder)["mirror"] == {"number": 2, "of": 3}
    assert "/c/rows.jsonl" not in [path for _, path, _ in server.requests]
    assert "source 1 of 3 does not serve" in said[0]
    assert not (tmp_path / "staging").exists()


def test_mirror_with_other_bytes_is_passed_over(server, tmp_path):
    """A repository without a hash of its own is held to the hash that another entry states."""
    server.add_repository("some/data", COMMIT, {"rows.jsonl": b'{"text": "b"}\n'}, kind="datasets")
    sources = [{"hub": {"repo": "some/data", "revision": COMMIT}}, url(server.add("/rows.jsonl", ROWS))]
    said = []
    folder = bring(sources, tmp_path, said)
    assert (folder / "rows.jsonl").read_bytes() == ROWS
    assert "rows.jsonl has sha256" in said[0]


def test_result_does_not_depend_on_the_mirror(server, tmp_path):
    (tmp_path / "mine.txt").write_bytes(ROWS)
    first = url("http://127.0.0.1:9/rows.jsonl")
    folder = bring([first, {"path": str(tmp_path / "mine.txt")}], tmp_path)
    assert set(record(folder)["files"]) == {"rows.jsonl"}  # the name that the first entry states
    assert (folder / "rows.jsonl").read_bytes() == ROWS
    assert (folder / "rows.jsonl").stat().st_ino != (tmp_path / "mine.txt").stat().st_ino


def test_folder_of_many_files_gives_those_asked_for(server, tmp_path):
    local = tmp_path / "local"
    local.mkdir()
    (local / "rows.jsonl").write_bytes(ROWS)
    (local / "other.csv").write_text("text\nb\n")
    folder = bring([{"path": str(local)}, url(server.url + "/rows.jsonl")], tmp_path)
    assert set(record(folder)["files"]) == {"rows.jsonl"}
    assert record(folder)["mirror"]["number"] == 1


def test_all_tries_are_named_and_nothing_is_left(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    package = {"name": "nonesuch", "version": "1.0", "sha256": "0" * 64, "files": {"n/rows.jsonl": sha(ROWS)}}
    wrong = server.add("/b/rows.jsonl", b"other")
    sources = [{"package": package}, url(wrong), {"path": str(tmp_path / "nowhere")}]
    with pytest.raises(AtlasError) as raised:
        bring(sources, tmp_path)
    text = str(raised.value)
    for words in ("none of the 3 sources", "(1) package nonesuch==1.0: ", "(2) url ", sha(b"other"), "(3) path "):
        assert words in text
    assert not (tmp_path / "d").exists()


def test_secrets_of_an_address_are_not_told(server, tmp_path):
    with pytest.raises(AtlasError) as raised:
        bring([url(f"{server.url}/a?token=secret"), url(f"{server.url}/b?token=secret")], tmp_path)
    assert "secret" not in str(raised.value)


def test_package_serves_out_of_its_wheel(server, tmp_path, monkeypatch):
    info = "toy-1.0.dist-info"
    members = {
        "toy/rows.jsonl": ROWS,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(tmp_path / "toy.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    wheel = (tmp_path / "toy.whl").read_bytes()
    server.add("/files/toy-1.0-py3-none-any.whl", wheel)
    page = b'<html><body><a href="/files/toy-1.0-py3-none-any.whl">toy-1.0-py3-none-any.whl</a></body></html>'
    server.add("/simple/toy/", page, headers={"Content-Type": "text/html"})
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    package = {"name": "toy", "version": "1.0", "sha256": sha(wheel), "files": {"toy/rows.jsonl": sha(ROWS)}}
    folder = bring([url(server.url + "/gone.jsonl", file="data.jsonl"), {"package": package}], tmp_path)
    assert set(record(folder)["files"]) == {"data.jsonl"}
    assert record(folder)["version"] == "1.0"


def test_model_from_the_second_of_two_gguf_places(server, tmp_path):
    save_gguf(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    server.add_repository("some/tiny", COMMIT, {"q/tiny.gguf": content})
    hub = {"hub": {"repo": "some/tiny", "revision": COMMIT, "file": "q/tiny.gguf", "sha256": sha(content)}}
    sources = [url(server.url + "/tiny.gguf", content), hub]
    folder = materialise_model(sources, tmp_path / "m", staging=tmp_path / "s", log=lambda _: None)
    found = check_model_folder(folder, full=True)
    assert (found["mirror"], found["revision"], found["source"]) == ({"number": 2, "of": 2}, COMMIT, hub)
    assert not (tmp_path / "s").exists()


def test_model_of_several_files_by_their_hashes(server, tmp_path):
    local = save_folder(tmp_path / "local")
    contents = {path.name: path.read_bytes() for path in local.iterdir()}
    files = {name: sha(content) for name, content in contents.items()}
    server.add_repository("some/model", "main", contents)
    sources = [{"hub": {"repo": "no/where", "files": files}}, {"hub": {"repo": "some/model", "files": files}}]
    folder = materialise_model(sources, tmp_path / "m", staging=tmp_path / "s", log=lambda _: None)
    assert {name: facts["sha256"] for name, facts in check_model_folder(folder)["files"].items()} == files
    server.add_repository("some/model", "main", {**contents, "config.json": b"{}"})
    with pytest.raises(AtlasError, match=r"config\.json of model some/model of the hub has sha256"):
        download_hub("some/model", None, tmp_path / "again", files=files)


def test_what_entries_state():
    one = {"package": {"name": "p", "version": "1", "sha256": "0" * 64, "files": {"a/x.csv": "1" * 64}}}
    assert stated_files(one) == {"x.csv": "1" * 64}
    assert stated_files({"path": "x.csv"}) == stated_files({"hub": {"repo": "a/b", "revision": COMMIT}}) == {}
    assert shared_files([{"path": "x"}, url("http://h/y.csv", b"")]) == {"y.csv": sha(b"")}
    with pytest.raises(AtlasError, match="entries 1 and 3 of the list have different sha256"):
        shared_files([one, {"path": "x"}, url("http://h/y.csv", b"")])
    with pytest.raises(AtlasError, match="no entry of the list says which files"):
        shared_files([{"path": "x"}, {"hub": {"repo": "a/b", "revision": COMMIT}}])


def test_control_has_no_mirrors(tmp_path):
    with pytest.raises(AtlasError, match="exactly one of the keys package, hub, url, path"):
        materialise_model(
            [{"control": {"of": "x", "kind": "shuffled"}}, url("http://127.0.0.1:9/m.gguf")],
            tmp_path / "m",
            staging=tmp_path / "s",
            log=lambda _: None,
        )


def test_unpinned_source_takes_the_commit_of_main_and_records_it(server, tmp_path):
    server.add_repository("some/data", COMMIT, {"rows.jsonl": ROWS}, kind="datasets")
    info = json.dumps({"id": "some/data", "sha": COMMIT, "siblings": []}).encode()
    server.add("/api/datasets/some/data", info, headers={"Content-Type": "application/json"})
    folder = bring({"hub": {"repo": "some/data", "revision": None, "unpinned": True}}, tmp_path)
    assert record(folder)["source"] == {"hub": {"repo": "some/data", "revision": COMMIT}}
    assert record(folder)["revision"] == COMMIT
    with pytest.raises(AtlasError, match="no/where of the hub does not exist"):
        pin({"hub": {"repo": "no/where", "unpinned": True}})


@pytest.mark.parametrize(
    "name", ["../victim.jsonl", "/tmp/victim.jsonl", "a/../../victim.jsonl", "a//b.jsonl", "..", ""]
)
@pytest.mark.parametrize("kind", ["url", "hub", "list"])
def test_no_name_leads_out_of_the_folder(server, tmp_path, name, kind):
    """Also where the configuration's check was left out."""
    victim = tmp_path / "victim.jsonl"
    victim.write_bytes(b"mine")
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(ROWS)
    address = server.add("/b/rows.jsonl", ROWS)
    digests = {name: sha(ROWS)}
    sources = {
        "url": {"url": {"url": address.rpartition("/")[0], "files": digests}},
        "hub": {"hub": {"repo": "a/b", "files": digests}},
        "list": [{"url": {"url": server.url + "/gone", "files": digests}}, {"path": str(mine)}],
    }
    with pytest.raises(AtlasError, match=r"plain|none of the 2 sources"):
        bring(sources[kind], tmp_path)
    assert victim.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl") == ["mine.jsonl", "victim.jsonl"]
