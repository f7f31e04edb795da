"""Each kind of bad configuration and bad data ends the run with one clear sentence and nothing half-written."""

import re
import shutil

import pytest
from snakemake.utils import update_config

from projects import copy_project
from serving import Server

SHA = "0" * 64
QUESTIONS = "results/datasets/questions.parquet"


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
    "key that stands twice": (
        "analyses: {sinks: {epsilon: 0.2}}\nanalyses: {}",
        ["bad.yaml: analyses stands in line 1 and again in line 2"],
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


def test_a_run_in_another_folder_reads_the_configuration_of_the_project(fresh_shared, tmp_path):
    arguments = ("-n", "figures/sink_rates.pdf", "--directory", str(tmp_path), "--configfile", "configs/tiny.yaml")
    process = fresh_shared.run(*arguments)
    assert process.returncode == 0, process.stdout
    assert "extract_sinks" in process.stdout
    (tmp_path / "config.yaml").write_text("analyses: {mink: null}")
    process = fresh_shared.run(*arguments)
    assert process.returncode != 0
    assert f"{tmp_path / 'config.yaml'} stands in the working directory and is not read" in process.stdout
    process = fresh_shared.run(*arguments, str(tmp_path / "config.yaml"))
    assert process.returncode == 0, process.stdout


def test_nested_values_of_the_command_line_have_types(fresh_shared):
    process = fresh_shared.run(
        "-n", "figures/sink_rates.pdf", "--config", "analyses={sinks: {length: 20, epsilon: 0.2, bos: false}}"
    )
    assert process.returncode == 0, process.stdout
    process = fresh_shared.run("-n", "figures/sink_rates.pdf", "--config", "analyses={sinks: {length: '20'}}")
    assert "analyses.sinks.length: '20' is not a whole number" in process.stdout


# Each case below gets an entry of its own in one configuration, so that one run meets all of them. A case is a function
# of (project folder, key of the entry) that puts spoilt files at tiny/KEY and returns what is configured in addition.
def file(kind, name, change, **more):
    def apply(folder, key):
        path = folder / "tiny" / key / name
        path.parent.mkdir()
        path.write_bytes(change((folder / "tiny" / name).read_bytes()))
        return {"datasets": {key: {"kind": kind, "source": {"path": f"tiny/{key}/{name}"}, **more}}}

    return apply


def relation(name, change):
    def apply(folder, key):
        path = shutil.copytree(folder / "tiny" / "relations", folder / "tiny" / key) / name
        path.write_bytes(change(path.read_bytes()))
        return {"datasets": {key: {"kind": "relations", "source": {"path": f"tiny/{key}"}}}}

    return apply


def model(change, **more):
    def apply(folder, key):
        change(shutil.copytree(folder / "tiny" / "model", folder / "tiny" / key))
        return {"models": {key: {"source": {"path": f"tiny/{key}"}, "parameters": 100_000, **more}}}

    return apply


def option(analysis, **options):
    return lambda folder, key: {"analyses": {analysis: options}}


def edit(name, change):
    """A change of a model's folder."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def strip_bos(folder):
    edit("tokenizer_config.json", lambda b: re.sub(rb'"bos_token": "<s>",?', b"", b))(folder)


def other_family(folder):
    """A model whose code does not use transformers' attention interface."""
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(vocab_size=199, n_embd=32, n_layer=2, n_head=4, rotary_dim=8, n_positions=64)
    GPTJForCausalLM(config).save_pretrained(folder)


ROWS = ("results/datasets/{}.parquet", "prepare_dataset/{}.log")
MODEL = ("results/models/{}", "download_model/{}.log")
SINKS = ("results/activations/{}/sinks/passages.safetensors", "extract_sinks/{}/passages/1-of-1.log")
OF_TINY = "results/activations/tiny/"

# what is wrong -> (how, (target, log of the job that fails), words that the message must hold)
DATA = {
    "duplicate id": (
        file("prompts", "questions.jsonl", lambda b: b.replace(b'"q3"', b'"q2"')),
        ROWS,
        ["q2", "questions.jsonl"],
    ),
    "empty text": (
        file("prompts", "questions.jsonl", lambda b: b + b'{"id": "q99", "text": " "}\n'),
        ROWS,
        ["text", "row 24"],
    ),
    "missing column": (
        file("prompts", "questions.jsonl", lambda b: b.replace(b'"text"', b'"txt"')),
        ROWS,
        ["text", "txt"],
    ),
    "wrong type": (
        file("prompts", "questions.jsonl", lambda b: b + b'{"id": "q99", "text": ["w1"]}\n'),
        ROWS,
        ["text", "must be of type string"],
    ),
    "broken line": (file("prompts", "questions.jsonl", lambda b: b + b'{"id": \n'), ROWS, ["line 25"]),
    "wrong encoding": (
        file("text", "passages.txt", lambda b: b + b"\xff\xfe w1\n", format="lines"),
        ROWS,
        ["passages.txt", "utf-8"],
    ),
    "limit beyond the file": (
        file("text", "passages.txt", lambda b: b, format="lines", sample={"n": 99}),
        ROWS,
        ["99", "20"],
    ),
    "duplicate source of a relation": (
        relation("copying.csv", lambda b: b + b.splitlines()[1] + b"\n"),
        ROWS,
        ["copying.csv", "source"],
    ),
    "unknown category": (
        relation("relations.csv", lambda b: b.replace(b"Linguistic", b"Linguistics")),
        ROWS,
        ["relations.csv row 1", "Linguistics"],
    ),
    "pickled weights": (
        model(lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin")),
        MODEL,
        ["safetensors"],
    ),
    "truncated weights": (model(edit("model.safetensors", lambda b: b[:-100])), MODEL, ["model.safetensors"]),
    "unsupported family": (
        model(other_family),
        SINKS,
        ["gptj"],
    ),
    "weights of another family": (
        model(edit("config.json", lambda b: b.replace(b'"model_type": "llama"', b'"model_type": "gptj"'))),
        MODEL,
        ["lacks the tensor"],
    ),
    "no BOS to add": (model(strip_bos), SINKS, ["beginning-of-sequence"]),
    "no GPU": (model(lambda folder: None, device="cuda"), SINKS, ["cuda"]),
    "all prompts too long": (
        option("meaningless_tokens", max_tokens=10),
        (OF_TINY + "attention/questions.safetensors", "extract_attention/tiny/questions/{}-of-2.log"),
        ["24 longer than max_tokens", "raise it"],
    ),
}


def key_of(case):
    return case.replace(" ", "-").lower()


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """(project, what was said) of one run that meets every case of DATA and goes on."""
    project = copy_project(tmp_path_factory.mktemp("spoilt") / "project")
    more = [apply(project.folder, key_of(case)) for case, (apply, _, _) in DATA.items()]
    more.append({"analyses": {"sinks": {"bos": True}}})
    project.configure(lambda config: [update_config(config, change) for change in more])
    targets = [target.format(key_of(case)) for case, (_, (target, _), _) in DATA.items()]
    process = project.run("--keep-going", *targets)
    assert process.returncode != 0
    return project, process.stdout


@pytest.mark.parametrize("case", DATA)
def test_bad_data_is_named_and_leaves_nothing(spoilt, case):
    project, said = spoilt
    _, (target, log), words = DATA[case]
    logs = [log.format(key_of(case))] if "-of-" not in log or "1-of-1" in log else [log.format(n) for n in range(1, 6)]
    paths = [path for name in logs if (path := project.folder / "results" / "logs" / name).exists()]
    told = {sentence for path in paths for sentence in re.findall(r" ERROR (.*)$", path.read_text(), re.M)}
    assert len(told) == 1, told  # two shards may say the same
    (sentence,) = told
    for word in words:
        assert word in sentence
    assert f"Error in {log.partition('/')[0]}: {sentence}\n" in said
    assert "Traceback" not in said
    assert not (project.folder / target.format(key_of(case))).exists()
    assert not [path for path in (project.folder / "results").rglob("*") if path.name.endswith(".part")]


def test_too_few_long_texts_are_named(fresh):
    fresh.configure(lambda config: config["analyses"]["sinks"].update(length=39, sequences=12))
    process = fresh.run(SINKS[0].format("tiny"))
    assert process.returncode != 0
    (sentence,) = set(re.findall(r"^Error in \w+: (.*)$", process.stdout, re.M))
    assert "39 tokens" in sentence
    assert "sequences asks for 12" in sentence
    assert not (fresh.folder / SINKS[0].format("tiny")).exists()
    assert not [path for path in (fresh.folder / "results").rglob("*") if path.name.endswith(".part")]


def test_a_head_that_is_not_there_is_refused_at_the_plan(project):
    project.configure(lambda config: config["figures"]["attention_sinks"].update(heads=[[0, 1], [9, 0]]))
    process = project.run("figures/attention_sinks.pdf")
    assert process.returncode != 0
    lacks = "figures.attention_sinks.heads: tiny has no head [9, 0]: its layers are 0 to 3, its heads 0 to 5"
    assert lacks in process.stdout
    assert "Building DAG" not in process.stdout


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
