"""Downloads from a hub, against a local server that answers as a hub does."""

import pytest

from atlas.errors import AtlasError
from atlas.fetch.hub import download_hub
from serving import Server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 1024
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "modeling_own.py": b"import os",
    "onnx/model.onnx": b"onnx",
    "original/consolidated.00.pth": b"pickle",
    ".gitattributes": b"",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        server.add_repository("some/model", COMMIT, FILES)
        yield server


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_takes_weights_configuration_and_tokenizer_only(hub, tmp_path):
    paths = download_hub("some/model", COMMIT, tmp_path / "m")
    assert names(tmp_path / "m") == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert [path.name for path in paths] == names(tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS
    assert set(hub.tokens) == {None}


@pytest.mark.parametrize("token", ["hf_secret\n", "hf_secret two", "ключ", "\n"])
def test_what_is_no_token_is_refused_without_showing_it(token, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(AtlasError, match="HF_TOKEN holds a space, a line break") as caught:
        download_hub("some/model", COMMIT, tmp_path / "m")
    assert "secret" not in str(caught.value)
    assert set(hub.tokens) <= {None}


def test_a_proxy_that_cannot_be_used_is_one_sentence(hub, tmp_path, monkeypatch):
    from huggingface_hub.utils import close_session

    close_session()
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(AtlasError, match=r"through the proxy .*SOCKS.*unset ALL_PROXY"):
        download_hub("some/model", COMMIT, tmp_path / "m")
    close_session()


def test_interrupted_download_resumes(hub, tmp_path):
    resource = hub.resources[f"/some/model/resolve/{COMMIT}/model.safetensors"]
    resource.cut_after, resource.cuts = 100_000, 1
    download_hub("some/model", COMMIT, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS


def test_second_run_downloads_no_content_again(hub, tmp_path):
    download_hub("some/model", COMMIT, tmp_path / "m")
    hub.requests.clear()
    download_hub("some/model", COMMIT, tmp_path / "m")
    assert not [path for method, path, _ in hub.requests if method == "GET" and "resolve" in path]


def test_damaged_file_is_fetched_anew(hub, tmp_path):
    download_hub("some/model", COMMIT, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"x")
    download_hub("some/model", COMMIT, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == WEIGHTS


def test_server_that_sends_other_bytes_than_it_lists(hub, tmp_path):
    resource = hub.resources[f"/some/model/resolve/{COMMIT}/model.safetensors"]
    resource.content = resource.content[:-1] + b"x"
    with pytest.raises(AtlasError, match=r"model\.safetensors of model some/model of the hub arrives damaged"):
        download_hub("some/model", COMMIT, tmp_path / "m")


@pytest.mark.parametrize("status", [401, 403])
def test_gated_repository(hub, tmp_path, monkeypatch, status):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.add_repository("some/gated", COMMIT, FILES, refuse=status)
    with pytest.raises(AtlasError, match=r"some/gated of the hub is gated.*accept its licence.*HF_TOKEN") as caught:
        download_hub("some/gated", COMMIT, tmp_path / "m")
    assert "hf_secret" not in str(caught.value)
    assert "Bearer hf_secret" in hub.tokens


def test_gate_that_opens_only_for_the_listing(hub, tmp_path):
    for path, resource in hub.resources.items():
        if "/resolve/" in path:
            resource.status, resource.headers = 403, {"X-Error-Code": "GatedRepo"}
    with pytest.raises(AtlasError, match="accept its licence"):
        download_hub("some/model", COMMIT, tmp_path / "m")


def test_missing_repository_and_revision(hub, tmp_path):
    with pytest.raises(AtlasError, match="model no/where of the hub does not exist or is private"):
        download_hub("no/where", COMMIT, tmp_path / "m")
    with pytest.raises(AtlasError, match=f"some/model of the hub has no revision {'f' * 40}"):
        download_hub("some/model", "f" * 40, tmp_path / "m")


def test_name_that_is_none(hub, tmp_path):
    with pytest.raises(AtlasError, match="not a repository name"):
        download_hub("a/b/c", COMMIT, tmp_path / "m")


def test_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AtlasError, match="the hub is not reachable: check the network connection and HF_ENDPOINT"):
        download_hub("some/model", COMMIT, tmp_path / "m")


@pytest.mark.parametrize("revision", ["main", "v1.0", "0123456"])
def test_revision_must_be_a_commit(hub, tmp_path, revision):
    with pytest.raises(AtlasError, match="not a commit of 40 hex digits"):
        download_hub("some/model", revision, tmp_path / "m")
    assert hub.requests == []


def test_pin_is_required(hub, tmp_path):
    with pytest.raises(AtlasError, match="is not pinned"):
        download_hub("some/model", None, tmp_path / "m", file="model.gguf")


def test_pickled_weights_are_refused(hub, tmp_path):
    hub.add_repository("some/old", COMMIT, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(AtlasError, match=r"only as pytorch_model\.bin, which can run code"):
        download_hub("some/old", COMMIT, tmp_path / "m")
    with pytest.raises(AtlasError, match=r"pytorch_model\.bin is of a type that is not taken"):
        download_hub("some/old", COMMIT, tmp_path / "m", file="pytorch_model.bin")
    assert not [path for method, path, _ in hub.requests if "resolve" in path]


def test_several_ggufs_need_a_choice(hub, tmp_path):
    hub.add_repository("some/gguf", COMMIT, {"a.Q4.gguf": b"1", "a.Q8.gguf": b"2"})
    with pytest.raises(AtlasError, match=r"2 GGUF files: name one under `file`, such as a\.Q4\.gguf"):
        download_hub("some/gguf", COMMIT, tmp_path / "m")
    assert [p.name for p in download_hub("some/gguf", COMMIT, tmp_path / "m", file="a.Q8.gguf")] == ["a.Q8.gguf"]


def test_unknown_file_suggests_the_nearest(hub, tmp_path):
    with pytest.raises(AtlasError, match=r"no file 'modl\.safetensors' \(nearest: model\.safetensors"):
        download_hub("some/model", COMMIT, tmp_path / "m", file="modl.safetensors")


def test_a_file_is_pinned_by_its_hash(hub, tmp_path):
    hub.add_repository("some/gguf", COMMIT, {"a.gguf": WEIGHTS})
    for path in list(hub.resources):  # the same repository as the branch `main`
        hub.resources[path.replace(COMMIT, "main")] = hub.resources[path]
    import hashlib

    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert download_hub("some/gguf", None, tmp_path / "m", file="a.gguf", sha256=digest)[0].read_bytes() == WEIGHTS
    with pytest.raises(AtlasError, match=r"a\.gguf of model some/gguf of the hub has sha256"):
        download_hub("some/gguf", None, tmp_path / "n", file="a.gguf", sha256="0" * 64)


def test_data_set(hub, tmp_path):
    files = {"README.md": b"#", "data/rows.jsonl": b'{"text": "a"}\n', "load.py": b"import os"}
    hub.add_repository("some/data", COMMIT, files, kind="datasets")
    paths = download_hub("some/data", COMMIT, tmp_path / "d", repo_type="dataset", file="data/rows.jsonl")
    assert paths == [tmp_path / "d" / "data" / "rows.jsonl"]
    everything = download_hub("some/data", COMMIT, tmp_path / "e", repo_type="dataset")
    assert sorted(path.name for path in everything) == ["README.md", "rows.jsonl"]


def test_listing_that_leaves_the_folder_is_not_followed(hub, tmp_path):
    hub.add_repository(
        "some/evil", COMMIT, {"../../evil.safetensors": b"1", "model.safetensors": b"2", "config.json": b"{}"}
    )
    download_hub("some/evil", COMMIT, tmp_path / "deep" / "m")
    assert not list(tmp_path.rglob("evil*"))
