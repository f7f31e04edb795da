"""The whole way from a depth data set to figures/mink_depth with tiny random models, in real snakemake runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from tiny_models import save_folder

SCORES = [5, 4, 3, 2, 1]
FIGURE = "figures/mink_depth"


def question(rng, length):
    return " ".join(f"w{i}" for i in rng.integers(0, 196, length))


def write_graph(path):
    """12 D3 questions, each with two D2 questions, each of these with two D1 questions."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        for j in range(2):
            for k in range(2):
                rows.append((f"d1-{i}{j}{k}", 1, [], 6 + k))
            rows.append((f"d2-{i}{j}", 2, [f"d1-{i}{j}{k}" for k in range(2)], 10 + j))
        rows.append((f"d3-{i}", 3, [f"d2-{i}{j}" for j in range(2)], 20 + i))
    rows.append(("d1-short", 1, [], 2))
    lines = [
        {"id": name, "depth": depth, "question": question(rng, 4), "answer": question(rng, length), "predecessors": below,
         "score_base": SCORES[number % 5]}
        for number, (name, depth, below, length) in enumerate(rows)
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mink")
    save_folder(folder / "source", "llama")
    write_graph(folder / "graph.jsonl")
    return folder


def configuration(place, **mink):
    default = yaml.safe_load((ROOT / "config.yaml").read_text())
    options = {"predictions": {"questions": 9, "max_new_tokens": [4, 5, 6]}, "bootstrap": 100, **mink}
    return {
        "models": {
            **dict.fromkeys(default["models"]),
            "base": {"label": "Base", "source": {"path": str(place / "source")}},
            "control": {"label": "Control", "source": {"control": {"of": "base", "kind": "shuffled"}}},
        },
        "datasets": {
            **dict.fromkeys(default["datasets"]),
            "graph": {"kind": "depth", "source": {"path": str(place / "graph.jsonl")}},
        },
        "analyses": {**dict.fromkeys(default["analyses"]), "mink": {"datasets": ["graph"], **options}},
        "figures": {**dict.fromkeys(default["figures"]), "mink_depth": {"dataset": "graph"}},
    }


def run(place, *targets, fails=False, **mink):
    file = place / "config.yaml"
    file.write_text(yaml.safe_dump(configuration(place, **mink)))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(place), "--cores",
        "2", "--configfile", str(file), "--workflow-profile", "none", "--", *targets,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    output = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, output[-6000:]
    return output


def table(place, name):
    return pd.read_parquet(place / f"results/tables/{name}.parquet")


def rules_run(output):
    return {line.split()[0] for line in output.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]} - {"total"}


@pytest.fixture(scope="module")
def first(place):
    run(place, FIGURE)
    return place


def test_tables_and_figure(first):
    mink = table(first, "mink")
    assert set(mink["model"]) == {"base", "control"}
    assert mink.groupby("model").size().tolist() == [84 * 5] * 2
    assert "d1-short" not in set(mink["question"])
    trend = table(first, "mink_trend")
    assert (trend["dropped"] == 1).all()
    gaps = table(first, "score_gap")
    assert gaps.groupby("model").size().tolist() == [9, 9]
    assert set(gaps["answers_from"]) == {"base"}
    by_model = {model: part.set_index("question")["gap"] for model, part in gaps.groupby("model")}
    pd.testing.assert_series_equal(by_model["base"], by_model["control"])
    strategic = mink[(mink["depth"] == 3) & (mink["k_percent"] == 20)]
    for model, part in gaps.groupby("model"):
        values = strategic.loc[strategic["model"] == model, "mink"]
        low, high = values.quantile(0.25), values.quantile(0.75)
        expected = np.where(part["mink"] <= low, "25%", np.where(part["mink"] >= high, "75%", "middle"))
        assert part["group"].tolist() == expected.tolist()
    assert len(table(first, "discrepancy")) == 12
    assert len(table(first, "depth_accuracy")) == 6
    for extension in ("png", "pdf", "svg"):
        assert (first / f"{FIGURE}.{extension}").stat().st_size > 5_000
    svg = (first / f"{FIGURE}.svg").read_text()
    for text in ("(a) Base", "(b) Control", "(c) Base", "(d) Control", "Depth 1", "Depth 3", "Score Gap (D3 - D2)",
                 "Depthwise Average MIN-K%", "25% (n = ", "75% (n = "):  # fmt: skip
        assert f">{text}" in svg, text
    caption = (first / "results/captions/mink_depth.txt").read_text()
    assert "A control's answers and scores are its base's" in caption
    assert "9 D3 questions (3 not predicted)" in caption
    assert "1 texts dropped as too short" in caption


def test_a_new_k_a_new_threshold_and_a_new_judge_run_no_model(first):
    output = run(first, FIGURE, k_percent=[20, 33.3], threshold=2, average="graph")
    assert not rules_run(output) & {"extract_token_logprobs", "generate_answers", "judge_answers"}
    assert set(table(first, "mink")["k_percent"]) == {20, 33.3}
    assert set(table(first, "mink_trend")["average"]) == {"graph"}
    output = run(first, FIGURE, judge={"kind": "column", "column": {"base": "score_base"}})
    assert "judge_answers" in rules_run(output)
    assert not rules_run(output) & {"extract_token_logprobs", "generate_answers", "compute_mink_again"}
    gaps = table(first, "score_gap")
    assert set(gaps["judge"]) == {"column"}
    assert len(gaps) == 24
    assert set(gaps["score"]) <= set(SCORES)


def test_any_number_of_shards_gives_the_same_bytes(first):
    names = ("token_logprobs/graph.safetensors", "answers/graph.parquet")
    targets = [f"results/activations/base/{name}" for name in names]
    run(first, *targets)
    whole = [(first / target).read_bytes() for target in targets]
    run(first, *targets, shards=3)
    assert [(first / target).read_bytes() for target in targets] == whole


def test_predictions_are_scored_and_a_controls_are_its_bases(first):
    run(first, "results/tables/mink.parquet", texts=["prediction", "question_answer"], template="raw", min_tokens=1)
    found = table(first, "mink")
    counts = found[found["k_percent"] == 20].groupby(["model", "text"])["tokens"]
    predicted = counts.apply(list).unstack()["prediction"]
    assert predicted["base"] == predicted["control"]
    assert len(predicted["base"]) == 63  # 9 graphs of 7 questions
    assert set(found["template"]) == {"raw"}


def test_mistakes_in_the_configuration_are_one_sentence(first):
    assert "k_percent.0: 0 is out of range" in run(first, FIGURE, k_percent=[0], fails=True)
    assert "101 is out of range" in run(first, FIGURE, k_percent=[101], fails=True)
    assert "did you mean 'answer'?" in run(first, FIGURE, texts=["anwser"], fails=True)


def test_metrics_and_plots_import_no_torch():
    code = (
        "import sys; sys.path.insert(0, 'scripts')\n"
        "import atlas.analyses.min_k, atlas.analyses.score_gaps, atlas.judges.reference, atlas.judges.api, atlas.judges\n"
        "import atlas.analyses.gathering, atlas.plots.mink_depth, openai, rouge_score.rouge_scorer\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scripts_hold_no_numerics():
    for name in ("generate_answers", "extract_token_logprobs", "compute_mink", "compute_score_gap", "plot_mink_depth"):
        assert "numpy" not in Path(ROOT / "scripts" / f"{name}.py").read_text()
