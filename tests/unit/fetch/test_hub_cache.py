"""The cache and the login of the hub's own library: used where they may be, and no reason for another result."""

import errno
import hashlib
import json
import os

import pytest
from huggingface_hub import constants, hf_hub_download

from atlas.data.kinds import prepare
from atlas.data.sources import materialise_dataset
from atlas.errors import AtlasError
from atlas.fetch import files
from atlas.fetch.hub_access import HubAccess, announce
from atlas.models.folder import check_model_folder
from atlas.models.sources import materialise_model
from serving import Server
from tiny_models import save_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "model.safetensors"
SHARED = HubAccess(cache=True)
SOURCE = {"hub": {"repo": "some/model", "revision": COMMIT}}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    return folder


@pytest.fixture
def hub(monkeypatch, tmp_path, cache):
    local = save_folder(tmp_path / "local")
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        contents = {path.name: path.read_bytes() for path in local.iterdir()}
        server.add_repository("some/model", COMMIT, contents | {"README.md": b"# A model"})
        # As the hub does: large files by their sha256, others by git's hash.
        listing = json.loads(server.resources[f"/api/models/some/model/tree/{COMMIT}"].content)
        for entry in listing:
            etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
            server.resources[f"/some/model/resolve/{COMMIT}/{entry['path']}"].headers["ETag"] = f'"{etag}"'
        yield server


def bring(tmp_path, source=SOURCE, access=SHARED, said=None, name="m"):
    log = (lambda _: None) if said is None else said.append
    return materialise_model(source, tmp_path / name, staging=tmp_path / f"{name}-staging", access=access, log=log)


def downloaded(server, name=WEIGHTS):
    return sum(method == "GET" and path.endswith(f"/{name}") for method, path, _ in server.requests)


def blob(cache):
    return (cache / "models--some--model" / "snapshots" / COMMIT / WEIGHTS).resolve()


def on_another_disk(monkeypatch, cache):
    """Two file systems are not at hand in a test: what the system says of a hard link across them is."""
    link = os.link

    def across(source, target, **options):
        if str(source).startswith(str(cache)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, target, **options)

    monkeypatch.setattr(files.os, "link", across)


def test_weights_stand_once_for_all_that_use_the_cache(hub, cache, tmp_path):
    """What another program has downloaded is linked, and what is downloaded here serves others."""
    first = bring(tmp_path)
    assert blob(cache).samefile(first / WEIGHTS)
    assert not (first / WEIGHTS).is_symlink()
    found = hf_hub_download("some/model", WEIGHTS, revision=COMMIT, cache_dir=cache, endpoint=hub.url)
    second = bring(tmp_path, name="again")
    assert downloaded(hub) == 1
    assert blob(cache).stat().st_nlink == 3
    assert (second / WEIGHTS).samefile(found)


def test_the_cache_changes_no_byte_of_a_model(hub, cache, tmp_path):
    with_it, without = bring(tmp_path), bring(tmp_path, access=HubAccess(), name="without")
    assert [path.name for path in sorted(with_it.iterdir())] == [path.name for path in sorted(without.iterdir())]
    for path in with_it.iterdir():
        assert path.read_bytes() == (without / path.name).read_bytes(), path.name
    assert not (without / WEIGHTS).samefile(blob(cache))


def test_what_else_lies_in_the_cache_is_not_taken(hub, cache, tmp_path):
    """A snapshot may hold more or less than the repository has: its listing decides."""
    snapshot = cache / "models--some--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "chat_template.jinja").write_text("another one")
    (snapshot / "evil.safetensors").write_text("x")
    folder = bring(tmp_path)
    assert not (folder / "evil.safetensors").exists()
    listed = {path.name for path in bring(tmp_path, access=HubAccess(), name="without").iterdir()}
    assert {path.name for path in folder.iterdir()} == listed


def test_a_damaged_file_of_the_cache_is_fetched_anew_without_it_and_said(hub, cache, tmp_path):
    bring(tmp_path)
    there = blob(cache)
    content = there.read_bytes()
    there.unlink()
    there.write_bytes(content[:-1] + b"x")
    said = []
    folder = bring(tmp_path, said=said, name="again")
    assert (folder / WEIGHTS).read_bytes() == content
    assert not (folder / WEIGHTS).is_symlink()
    assert blob(cache).read_bytes() == content[:-1] + b"x"
    assert f"model.safetensors of model some/model of the hub is damaged in {cache} and is fetched anew" in said


def test_a_cache_on_another_disk_is_linked_and_its_loss_is_a_sentence(hub, cache, tmp_path, monkeypatch):
    on_another_disk(monkeypatch, cache)
    folder = bring(tmp_path)
    assert (folder / WEIGHTS).is_symlink()
    assert (folder / WEIGHTS).readlink() == blob(cache)
    assert not (folder / "config.json").is_symlink()
    check_model_folder(folder, full=True)
    blob(cache).unlink()
    with pytest.raises(AtlasError, match=r"is a link to .*, which is gone: the hub's cache was cleaned .* run again"):
        check_model_folder(folder)
    again = bring(tmp_path)  # what the sentence asks for
    check_model_folder(again, full=True)
    assert downloaded(hub) == 2


def test_a_cleaned_cache_on_the_same_disk_is_no_loss(hub, cache, tmp_path):
    folder = bring(tmp_path)
    blob(cache).unlink()
    check_model_folder(folder, full=True)


def test_a_cache_that_cannot_be_written_is_done_without_and_said(hub, cache, tmp_path):
    cache.parent.mkdir()
    cache.write_text("no folder")
    said = []
    folder = bring(tmp_path, said=said)
    check_model_folder(folder, full=True)
    assert not (folder / WEIGHTS).is_symlink()
    assert any(f"cache {cache} cannot be written (" in line for line in said)
    assert cache.read_text() == "no folder"


def test_a_file_that_is_pinned_by_its_hash_comes_from_the_cache_without_the_hub(hub, cache, tmp_path):
    bring(tmp_path)
    hashes = {name: fact["sha256"] for name, fact in check_model_folder(tmp_path / "m")["files"].items()}
    hub.add_repository("some/model", "main", {name: (tmp_path / "m" / name).read_bytes() for name in hashes})
    for name, digest in hashes.items():  # as if all were large ones, which the cache names by their sha256
        (blob(cache).parent / digest).write_bytes((tmp_path / "m" / name).read_bytes())
    hub.requests.clear()
    folder = bring(tmp_path, {"hub": {"repo": "some/model", "files": hashes}}, name="pinned")
    assert hub.requests == []
    assert {name: fact["sha256"] for name, fact in check_model_folder(folder, full=True)["files"].items()} == hashes


def test_data_sets_use_the_cache_too(hub, cache, tmp_path, monkeypatch):
    hub.add_repository("some/data", COMMIT, {"rows.jsonl": b'{"text": "a"}\n'}, kind="datasets")
    source = {"hub": {"repo": "some/data", "revision": COMMIT}}
    first = materialise_dataset(source, tmp_path / "d", access=SHARED, log=lambda _: None)
    on_another_disk(monkeypatch, cache)
    second = materialise_dataset(source, tmp_path / "e", access=SHARED, log=lambda _: None)
    assert downloaded(hub, "rows.jsonl") == 1
    assert (second / "rows.jsonl").is_symlink()
    assert prepare("text", {}, first)[0].equals(prepare("text", {}, second)[0])
    (second / "rows.jsonl").resolve().unlink()
    with pytest.raises(AtlasError, match=r"is a link to .*, which is gone"):
        prepare("text", {}, second)


def log_in(tmp_path, token="hf_stored"):
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf" / "token").write_text(token)


def test_a_login_is_used_only_where_it_may_be_and_then_said(hub, tmp_path, monkeypatch):
    log_in(tmp_path)
    said = []
    bring(tmp_path, access=HubAccess(), said=said)
    assert set(hub.tokens) == {None}
    allowed = bring(tmp_path, access=HubAccess(login=True), said=said, name="allowed")
    assert "Bearer hf_stored" in hub.tokens
    assert "login" not in check_model_folder(tmp_path / "m")
    assert check_model_folder(allowed)["login"] == "that of the hub's own command was used"
    monkeypatch.setenv("HF_TOKEN", "hf_own")
    hub.tokens.clear()
    own = bring(tmp_path, access=HubAccess(login=True), said=said, name="own")
    assert "Bearer hf_stored" not in hub.tokens
    assert "Bearer hf_own" in hub.tokens
    assert "login" not in check_model_folder(own)
    told = [path.read_bytes() for name in ("m", "allowed", "own") for path in (tmp_path / name).iterdir()]
    assert not any(token in text for token in (b"hf_stored", b"hf_own") for text in [*told, *map(str.encode, said)])


def test_without_a_login_what_is_public_comes_all_the_same(hub, tmp_path):
    folder = bring(tmp_path, access=HubAccess(login=True))
    assert set(hub.tokens) == {None}
    assert "login" not in check_model_folder(folder)


def test_a_gate_names_both_ways_and_no_token(hub, tmp_path):
    log_in(tmp_path)
    hub.add_repository("some/gated", COMMIT, {"config.json": b"{}"}, refuse=403)
    source = {"hub": {"repo": "some/gated", "revision": COMMIT}}
    for access in (HubAccess(), HubAccess(login=True)):
        with pytest.raises(AtlasError, match=r"accept its licence .* HF_TOKEN .* `hub_login: true`") as caught:
            bring(tmp_path, source, access)
        assert "hf_stored" not in str(caught.value)


def test_a_stored_token_that_is_none(hub, tmp_path):
    log_in(tmp_path, "hf_stored two")
    with pytest.raises(AtlasError, match=r"login of the hub's own command holds a space.*log in again") as caught:
        bring(tmp_path, access=HubAccess(login=True))
    assert "stored" not in str(caught.value)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("login", [False, True])
def test_jobs_are_told_what_the_configuration_says(cache, login, monkeypatch):
    for name, value in announce({"hub_cache": cache, "hub_login": login}).items():
        monkeypatch.setenv(name, value)
    assert HubAccess.announced() == HubAccess(cache, login)


def test_jobs_that_were_told_nothing_use_nothing(monkeypatch):
    for name in announce({"hub_cache": True, "hub_login": True}):
        monkeypatch.delenv(name, raising=False)
    assert HubAccess.announced() == HubAccess()


def test_the_hash_of_the_listing_counts_for_the_cache(hub, cache, tmp_path):
    """A file that the hub calls by one hash and sends otherwise does not get in by way of the cache."""
    resource = hub.resources[f"/some/model/resolve/{COMMIT}/{WEIGHTS}"]
    resource.content = resource.content[:-1] + b"x"
    assert hashlib.sha256(resource.content).hexdigest() not in str(blob(cache))
    with pytest.raises(AtlasError, match=r"model\.safetensors of model some/model of the hub arrives damaged"):
        bring(tmp_path)
    assert not (tmp_path / "m").exists()
