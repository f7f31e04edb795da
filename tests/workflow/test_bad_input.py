"""Each kind of bad configuration and bad data ends the run with one clear sentence and nothing half-written."""

import re

import pytest

from serving import Server

SHA = "0" * 64


@pytest.fixture
def server():
    with Server() as running:
        yield running


def overlay(project, text):
    """Write a second configuration file that is merged over configs/tiny.yaml; returns its arguments."""
    project.write("bad.yaml", text)
    return ["--configfile", "configs/tiny.yaml", "bad.yaml"]


# what is wrong -> (configuration merged over configs/tiny.yaml, words that the message must hold); all other kinds of
# mistakes are told by the same check, in tests/unit/config
CONFIGS = {
    "key that the schema does not know": (
        "analyses: {sinks: {epsilonn: 0.2}}",
        ["analyses.sinks", "epsilonn", "did you mean 'epsilon'"],
    ),
    "section that was emptied": ("analyses: null", ["analyses", "null", "mapping"]),
    "name that is not in another section": (
        "figures: {sink_rates: {models: [tinny]}}",
        ["figures.sink_rates.models", "tinny", "did you mean 'tiny'"],
    ),
    "path that is not there": (
        "models: {tiny: {source: {path: nowhere/model}}}",
        ["tiny", "nowhere/model", "not exist"],
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_bad_configuration_is_one_clear_sentence(fresh_shared, case):
    text, words = CONFIGS[case]
    process = fresh_shared.run("-n", "figures/all", *overlay(fresh_shared, text))
    assert process.returncode != 0
    for word in words:
        assert word in process.stdout, process.stdout
    assert "Traceback" not in process.stdout
    assert len([line for line in process.stdout.splitlines() if "rror" in line]) <= 2, process.stdout


def spoil(name, change):
    def apply(project):
        path = project.folder / "tiny" / name
        path.write_bytes(change(path.read_bytes()))

    return apply


def configure(**changes):
    return lambda project: project.configure(lambda config: config["analyses"]["sinks"].update(changes))


QUESTIONS, PASSAGES = "results/datasets/questions.parquet", "results/datasets/passages.parquet"
ATTENTION = "results/activations/tiny/attention/questions.safetensors"
SINKS = "results/activations/tiny/sinks/passages.safetensors"


def dataset(key, **changes):
    return lambda project: project.configure(lambda config: config["datasets"][key].update(changes))


# what is wrong -> (how, target, words that the message must hold)
DATA = {
    "duplicate id": (
        spoil("questions.jsonl", lambda b: b.replace(b'"q3"', b'"q2"')),
        QUESTIONS,
        ["q2", "questions.jsonl"],
    ),
    "empty text": (
        spoil("questions.jsonl", lambda b: b + b'{"id": "q99", "text": " "}\n'),
        QUESTIONS,
        ["text", "row 24"],
    ),
    "missing column": (spoil("questions.jsonl", lambda b: b.replace(b'"text"', b'"txt"')), QUESTIONS, ["text", "txt"]),
    "wrong type": (
        spoil("questions.jsonl", lambda b: b + b'{"id": "q99", "text": ["w1"]}\n'),
        QUESTIONS,
        ["text", "must be of type string"],
    ),
    "broken line": (spoil("questions.jsonl", lambda b: b + b'{"id": \n'), QUESTIONS, ["line 25"]),
    "wrong encoding": (spoil("passages.txt", lambda b: b + b"\xff\xfe w1\n"), PASSAGES, ["passages.txt", "utf-8"]),
    "limit beyond the file": (dataset("passages", sample={"n": 99}), PASSAGES, ["99", "20"]),
    "pickled weights": (
        lambda p: (p.folder / "tiny/model/model.safetensors").rename(p.folder / "tiny/model/pytorch_model.bin"),
        "results/models/tiny",
        ["safetensors"],
    ),
    "truncated weights": (
        spoil("model/model.safetensors", lambda b: b[:-100]),
        "results/models/tiny",
        ["model.safetensors"],
    ),
    "unsupported family": (
        spoil("model/config.json", lambda b: re.sub(rb'"model_type": "llama"', b'"model_type": "gptj"', b)),
        SINKS,
        ["gptj"],
    ),
    "too few long texts": (configure(length=39, sequences=12), SINKS, ["39 tokens", "sequences asks for 12"]),
    "no BOS to add": (lambda p: (configure(bos=True)(p), strip_bos(p)), SINKS, ["beginning-of-sequence"]),
    "all prompts too long": (
        lambda p: p.configure(lambda c: c["analyses"]["meaningless_tokens"].update(max_tokens=10)),
        ATTENTION,
        ["24 are longer", "max_tokens"],
    ),
    "duplicate source of a relation": (
        spoil("relations/copying.csv", lambda b: b + b.splitlines()[1] + b"\n"),
        "results/datasets/relations.parquet",
        ["copying.csv", "source"],
    ),
    "unknown category": (
        spoil("relations/relations.csv", lambda b: b.replace(b"Linguistic", b"Linguistics")),
        "results/datasets/relations.parquet",
        ["relations.csv row 1", "Linguistics"],
    ),
    "more shards than layers": (
        lambda p: p.configure(lambda c: c["analyses"]["head_categories"].update(shards=5)),
        "results/activations/tiny/head_mappings/relations.safetensors",
        ["shards = 5", "4 layers"],
    ),
    "no GPU": (lambda p: p.configure(lambda c: c["models"]["tiny"].update(device="cuda")), SINKS, ["cuda"]),
}


def strip_bos(project):
    path = project.folder / "tiny" / "model" / "tokenizer_config.json"
    path.write_text(re.sub(r'"bos_token": "<s>",?', "", path.read_text()))


@pytest.mark.parametrize("case", DATA)
def test_bad_data_is_named_and_leaves_nothing(fresh, case):
    change, target, words = DATA[case]
    change(fresh)
    process = fresh.run(target)
    assert process.returncode != 0
    sentences = re.findall(r"^Error in \w+: (.*)$", process.stdout, re.M)
    assert len(set(sentences)) == 1, process.stdout  # two shards may say the same
    for word in words:
        assert word in sentences[0]
    assert not (fresh.folder / target).exists()
    assert not [path for path in (fresh.folder / "results").rglob("*") if path.name.endswith(".part")]


def test_plot_names_a_head_that_is_not_there(project):
    project.configure(lambda config: config["figures"]["attention_sinks"].update(heads=[[0, 1], [9, 0]]))
    process = project.run("figures/attention_sinks.pdf")
    assert process.returncode != 0
    assert "no head [9, 0]" in process.stdout
    assert "4 layers of 6 heads" in process.stdout


def test_mirrors_ask_for_nothing_ahead_and_the_next_one_serves(fresh, server):
    """A wheel that stands in a list is no input of the download; a place that does not answer costs one try."""
    import hashlib

    rows = fresh.folder / "tiny" / "questions.jsonl"
    digest = hashlib.sha256(rows.read_bytes()).hexdigest()
    package = {"name": "nonesuch", "version": "1.0", "sha256": SHA, "files": {"n/questions.jsonl": digest}}
    mirrors = [
        {"url": {"url": f"{server.url}/gone/questions.jsonl", "sha256": digest}},
        {"path": "tiny/questions.jsonl"},
        {"package": package},
    ]
    fresh.configure(lambda config: config["datasets"]["questions"].update(source=mirrors))
    assert fresh.planned(QUESTIONS) == {"download_dataset": 1, "prepare_dataset": 1}
    process = fresh.run(QUESTIONS, timeout=120)
    assert process.returncode == 0, process.stdout
    assert "source 1 of 3 does not serve" in (fresh.folder / "results/logs/download_dataset/questions.log").read_text()
    fresh.configure(lambda config: config["datasets"]["questions"].update(source=mirrors[::2]))
    process = fresh.run(QUESTIONS, timeout=120)
    assert process.returncode != 0
    assert f"none of the 2 sources gives the files: (1) url {server.url}/gone/questions.jsonl: " in process.stdout
    assert "(2) package nonesuch==1.0: " in process.stdout
