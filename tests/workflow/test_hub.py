"""What a configuration says of the hub's cache and login reaches the jobs, and is no reason to run one again."""

import json

import pytest

import atlas
from atlas.errors import AtlasError
from serving import Server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUESTIONS = "results/datasets/questions.parquet"


@pytest.fixture
def hub(fresh, tmp_path, monkeypatch):
    fresh.warm = False  # the hub's library reads where its things lie when it is imported
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_stored")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        rows = (fresh.folder / "tiny" / "questions.jsonl").read_text().splitlines(keepends=True)
        shards = [f"data/test-0000{number}-of-00002.jsonl" for number in range(2)]
        files = {name: "".join(part).encode() for name, part in zip(shards, (rows[:3], rows[3:]), strict=True)}
        server.add_repository("some/questions", COMMIT, files, kind="datasets")
        source = {"hub": {"repo": "some/questions", "revision": COMMIT, "split": "test"}}
        fresh.configure(lambda config: config["datasets"]["questions"].update(source=source))
        yield server


def test_cache_and_login_reach_the_job_and_run_nothing_again(fresh, hub, tmp_path):
    process = fresh.run(QUESTIONS, "--config", "hub_login=True", timeout=120)
    assert process.returncode == 0, process.stdout
    raw = fresh.folder / "results" / "downloads" / "datasets" / "questions"
    record = json.loads((raw / "provenance.json").read_text())
    assert record["login"] == "that of the hub's own command was used"
    assert "Bearer hf_stored" in hub.tokens
    (snapshot,) = (tmp_path / "hf" / "hub").glob(f"datasets--some--questions/snapshots/{COMMIT}")
    for name in record["rows_from"]:
        assert (snapshot / name).samefile(raw / name)
    written = [path for path in fresh.folder.rglob("*") if path.is_file() and b"hf_stored" in path.read_bytes()]
    assert written == []
    assert fresh.planned(QUESTIONS, "--config", "hub_login=False", "hub_cache=False") == {}


@pytest.mark.long
def test_python_uses_a_login_where_it_may(hub, tmp_path):
    hub.add_repository("some/model", COMMIT, {"config.json": b"{}"}, refuse=403)
    for allowed in (False, True):
        with pytest.raises(AtlasError, match=r"some/model of the hub is gated") as caught:
            atlas.sinks(f"some/model@{COMMIT}", ["A text."], folder=tmp_path / "out", hub_login=allowed)
        assert ("Bearer hf_stored" in hub.tokens) == allowed
        assert "hf_stored" not in str(caught.value)
