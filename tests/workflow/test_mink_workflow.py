"""From a depth data set to figures/mink_depth: tables, what runs again after a change, shards, texts and judges."""

import numpy as np
import pandas as pd

from atlas.results.files import read_arrays, write_arrays

MODEL_RULES = {"extract_token_logprobs", "generate_answers", "generate_context_answers"}


def table(project, name):
    return pd.read_parquet(project.folder / "results" / "tables" / f"{name}.parquet")


def change(project, **options):
    project.configure(lambda config: config["analyses"]["mink"].update(options))


def run(project, *targets):
    process = project.run(*targets)
    assert process.returncode == 0, process.stdout


def test_tables(finished):
    mink = table(finished, "mink")
    assert mink.groupby("model").size().tolist() == [84 * 5] * 2
    assert "d1-short" not in set(mink["question"])
    assert (table(finished, "mink_trend")["dropped"] == 1).all()
    gaps = table(finished, "score_gap")
    assert gaps.groupby("model").size().tolist() == [9, 9]
    assert set(gaps["answers_from"]) == {"tiny"}
    trained, control = (part["gap"].tolist() for _, part in gaps.groupby("model"))
    assert trained == control
    strategic = mink[(mink["depth"] == 3) & (mink["k_percent"] == 20)]
    for model, part in gaps.groupby("model"):
        values = strategic.loc[strategic["model"] == model, "mink"]
        assert len(values) == 12
        low, high = values.quantile(0.25), values.quantile(0.75)
        expected = np.where(part["mink"] <= low, "25%", np.where(part["mink"] >= high, "75%", "middle"))
        assert part["group"].tolist() == expected.tolist()
    assert len(table(finished, "discrepancy")) == 12
    assert len(table(finished, "depth_accuracy")) == 6
    assert not list((finished.folder / "results" / "activations").rglob("*.jsonl"))  # the journals are gone


def test_shards_of_two_dtypes_are_not_joined(project):
    first = project.folder / "results/activations/tiny/token_logprobs/graph/1-of-2.safetensors"
    arrays, document = read_arrays(first)
    assert document["runtime"]["dtype"] == "float32"
    document["runtime"]["dtype"] = "bfloat16"
    first.unlink()
    write_arrays(first, arrays, document)
    said = project.run("results/metrics/tiny/mink/graph.parquet", "--rerun-triggers", "mtime").stdout
    assert "token_logprobs/graph/2-of-2.safetensors was computed in float32" in said, said
    assert "1-of-2.safetensors in bfloat16" in said


def test_figure_and_caption(finished):
    svg = (finished.folder / "figures" / "mink_depth.svg").read_text()
    for text in ("(a) Tiny Llama", "(b) Tiny Llama shuffled", "(c) Tiny Llama", "(d) Tiny Llama shuffled", "Depth 1",
                 "Depth 3", "Score Gap (D3 - D2)", "Depthwise Average MIN-K%", "25% (n = ", "75% (n = "):  # fmt: skip
        assert f">{text}" in svg, text
    caption = (finished.folder / "results" / "captions" / "mink_depth.txt").read_text()
    for fact in ("tiny graph", "K = 20", "chat format", "48 at depth 1, 24 at depth 2, 12 at depth 3",
                 "(1 texts dropped as too short)", "9 D3 questions (3 not predicted)", "ROUGE-L", "seed 0",
                 "A control's answers and scores are its base's", "4/5/6 tokens",
                 "Log-probabilities in float32."):  # fmt: skip
        assert fact in caption, fact


def test_k_average_and_threshold_run_no_model(project):
    change(project, k_percent=[20, 33.3], threshold=2, average="graph")
    assert not MODEL_RULES & project.planned("figures/mink_depth").keys()
    run(project, "figures/mink_depth", "results/tables/mink.parquet", "results/tables/mink_trend.parquet")
    assert set(table(project, "mink")["k_percent"]) == {20, 33.3}
    assert set(table(project, "mink_trend")["average"]) == {"graph"}


def test_scores_of_the_data_run_no_model(project):
    change(project, judge={"kind": "column", "column": "score_tiny"})
    jobs = project.planned("figures/mink_depth")
    assert jobs["judge_answers"] == 1
    assert not (MODEL_RULES | {"compute_mink"}) & jobs.keys()
    run(project, "figures/mink_depth", "results/tables/score_gap.parquet")
    gaps = table(project, "score_gap")
    assert set(gaps["judge"]) == {"column"}
    assert len(gaps) == 24
    assert set(gaps["score"]) <= {1, 2, 3, 4, 5}


def test_shards_do_not_change_results(project):
    names = ("token_logprobs/graph.safetensors", "answers/graph.parquet")
    targets = [f"results/activations/tiny/{name}" for name in names]
    whole = [(project.folder / target).read_bytes() for target in targets]
    change(project, shards=3)
    run(project, *targets)
    assert [(project.folder / target).read_bytes() for target in targets] == whole


def test_predictions_are_scored_and_those_of_a_control_are_its_bases(project):
    change(project, texts=["prediction", "question_answer"], template="raw", min_tokens=1)
    run(project, "results/tables/mink.parquet")
    found = table(project, "mink")
    predicted = found[(found["k_percent"] == 20) & (found["text"] == "prediction")]
    trained, control = (part["tokens"].tolist() for _, part in predicted.groupby("model"))
    assert trained == control
    assert 0 < len(trained) <= 63  # 9 graphs of 7 questions; an empty answer has nothing to score
    assert set(found["template"]) == {"raw"}


def test_answers_behind_what_questions_build_on(project):
    """Only they are generated anew; what was zero-shot stays, and the figure and the number of shards follow."""
    before = table(project, "depth_accuracy"), (project.folder / "results/tables/score_gap.csv").read_bytes()
    change(project, prompts=["zero_shot", "gold", "predicted"])
    planned = project.planned("figures/depth_prompts")
    assert MODEL_RULES & planned.keys() == {"generate_context_answers"}
    answers = project.folder / "results/activations/tiny/context_answers/graph.parquet"
    run(project, "figures/depth_prompts", "results/tables/depth_accuracy.parquet", "results/tables/score_gap.csv")
    found, whole = table(project, "depth_accuracy"), answers.read_bytes()
    assert found["prompt"].value_counts().to_dict() == {"zero_shot": 6, "gold": 6, "predicted": 6}
    zero = found[found["prompt"] == "zero_shot"].reset_index(drop=True)
    assert zero["score"].tolist() == before[0]["score"].tolist()
    assert (project.folder / "results/tables/score_gap.csv").read_bytes() == before[1]
    change(project, shards=3)
    run(project, "results/activations/tiny/context_answers/graph.parquet")
    assert answers.read_bytes() == whole
