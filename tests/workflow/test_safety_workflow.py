"""Real runs of the safety heads: what each table holds, what re-runs, what a killed run keeps, bad input."""

import itertools
import json
import os
import signal

import numpy as np
import pandas as pd

from atlas.analyses.published import read_table
from projects import digests, paused

LAYERS, HEADS, PROMPTS = 4, 6, 24


def table(project, name):
    return read_table(project.folder / "results" / "tables" / f"{name}.parquet", name)


def test_tables(finished):
    heads = table(finished, "safety_heads")
    models, ablations = ("tiny", "tiny-shuffled"), ("undifferentiated", "scaling")
    assert len(heads) == 2 * 2 * 2 * LAYERS * HEADS  # models, ablations, ranks
    for _, part in heads.groupby(["model", "ablation", "rank"]):
        assert sorted(part["position"]) == list(range(1, LAYERS * HEADS + 1))
        assert part.sort_values("position")["ships_degrees"].is_monotonic_decreasing
        assert (part["ships_degrees"] > 0).all()
    assert (heads["ships_low"] <= heads["ships_high"]).all()
    assert (heads["kl_low"] <= heads["kl_mean"]).all()
    queries = table(finished, "safety_queries")
    assert len(queries) == 2 * 2 * LAYERS * HEADS * PROMPTS
    means = queries.groupby(["model", "ablation", "layer", "head"])["kl"].mean()
    expected = heads[heads["rank"] == 1].set_index(["model", "ablation", "layer", "head"])["kl_mean"]
    pd.testing.assert_series_equal(means.sort_index(), expected.sort_index(), check_names=False)
    assert set(itertools.product(models, ablations)) == set(zip(heads["model"], heads["ablation"], strict=True))


def test_groups_start_from_the_ranks(finished):
    heads, groups = table(finished, "safety_heads"), table(finished, "head_groups")
    for ablation, group in groups.groupby("ablation"):
        ranked = heads[(heads["model"] == "tiny") & (heads["ablation"] == ablation) & (heads["rank"] == 1)]
        ranked = ranked.sort_values("position").head(4)
        first = group[group["step"] == 1].iloc[0]
        assert (first["layer"], first["head"]) == (ranked.iloc[0]["layer"], ranked.iloc[0]["head"])
        assert first["ships_degrees"] == ranked.iloc[0]["ships_degrees"]
        known = set(zip(ranked["layer"], ranked["head"], strict=True))
        assert set(zip(group["layer"], group["head"], strict=True)) <= known
        assert len(group.drop_duplicates(["layer", "head"])) == 2


def test_effect(finished):
    effect = table(finished, "ablation_effect")
    assert len(effect) == 2 * 3 * 3  # ablations, selections, numbers of heads
    assert set(effect["draws"][effect["selection"] == "random"]) == {2}
    assert effect["refusal_rate"].between(effect["low"], effect["high"]).all()
    none = effect[effect["heads_ablated"] == 0]
    assert none["refusal_rate"].nunique() == 1
    answers = pd.read_parquet(finished.folder / "results/activations/tiny/ablated_answers/questions.parquet")
    plain = answers[answers["heads_ablated"] == 0].groupby("prompt")["answer"].nunique()
    assert (plain == 1).all()
    # each prompt lacks the heads of its own ranking
    queries = table(finished, "safety_queries").query("model == 'tiny'").set_index(["ablation", "query", "position"])
    own = answers[(answers["selection"] == "own") & (answers["heads_ablated"] == 2)]
    assert len(own) == 2 * PROMPTS
    assert own["heads"].nunique() > 2
    for row in own.itertuples():
        best = [queries.loc[(row.ablation, row.prompt, place), ["layer", "head"]].tolist() for place in (1, 2)]
        assert json.loads(row.heads) == best
    caption = (finished.folder / "results/captions/safety_effect.txt").read_text()
    assert "Tiny Llama refuses none of the prompts" in caption
    assert "Greedy group among the 4 strongest heads" in caption


def test_rank_runs_no_model(project):
    project.configure(lambda config: config["analyses"]["safety_heads"].update(rank=[1, 2]))
    jobs = project.planned()
    assert jobs["compute_safety_heads"] == 2
    assert "extract_head_ablations" not in jobs


def test_a_model_without_its_strongest_heads_is_one_more_model(project):
    """Its heads come from the ranking of its base; every analysis takes it, with the options of its base."""

    def add(config):
        heads = {"top": 2, "dataset": "questions", "rank": 3}
        source = {"ablated": {"of": "tiny", "heads": heads, "ablation": "undifferentiated"}}
        config["models"]["without"] = {"source": source}

    project.configure(add)
    target = "results/metrics/without/sinks/passages.parquet"
    process = project.run(target)
    assert process.returncode == 0, process.stdout
    ranked = table(project, "safety_heads").query(
        "model == 'tiny' and ablation == 'undifferentiated' and rank == 3 and position <= 2"
    )
    record = json.loads((project.folder / "results/models/without/provenance.json").read_text())
    strongest = ranked.sort_values("position")[["layer", "head"]].values.tolist()
    assert record["ablated_heads"] == strongest
    sinks = {
        model: pd.read_parquet(project.folder / f"results/metrics/{model}/sinks/passages.parquet").query(
            "input == 'natural'"
        )
        for model in ("tiny", "without")
    }
    merged = sinks["tiny"].merge(sinks["without"], on=["layer", "head", "epsilon"], suffixes=("", "_without"))
    moved = merged[merged["alpha"] != merged["alpha_without"]]
    # nothing before the first ablated layer, and there the ablated head alone
    first = min(layer for layer, _ in strongest)
    at_first = {head for layer, head in strongest if layer == first}
    assert set(moved[moved["layer"] <= first]["head"]) == at_first
    assert moved["layer"].min() == first


def test_phrases_read_answers_only(project):
    project.edit("data/refusal_phrases.txt", "I cannot\n", "I cannot\nw1\n")
    jobs = project.planned()
    assert jobs == {
        "compute_ablation_effect": 1, "aggregate_table": 1, "plot_safety_effect": 1, "manifest": 1,
        "compute_claims": 1, "aggregate_claims": 1, "aggregate_published": 1, "plot_claims": 1,
    }  # fmt: skip


def test_killed_run_keeps_finished_layers_and_shards_give_the_same_bytes(project):
    folder = project.folder / "results" / "activations" / "tiny" / "head_ablations"
    before = digests(folder, "*.safetensors")
    project.configure(lambda config: config["analyses"]["safety_heads"].update(shards=4))
    goal = "results/activations/tiny/head_ablations/questions.safetensors"
    assert project.planned(goal) == {"extract_head_ablations": 4, "gather_shards": 1}
    with paused(project, r"-of-4\.safetensors$", "--cores", "1", goal, skip=2) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
    assert project.run("--unlock").returncode == 0
    assert project.planned(goal) == {"extract_head_ablations": 2, "gather_shards": 1}
    process = project.run(goal)
    assert process.returncode == 0, process.stdout
    assert digests(folder, "*.safetensors") == before


def test_rank_larger_than_the_prompts_allow(project):
    project.configure(lambda config: config["analyses"]["safety_heads"].update(rank=[1, 7]))
    process = project.run("results/metrics/tiny/safety_heads/questions.parquet")
    assert process.returncode
    assert "24 prompts allow at most 6" in process.stdout


def test_prompt_longer_than_the_context_is_dropped(project):
    long = " ".join(["w5"] * 200)
    path = project.folder / "tiny" / "questions.jsonl"
    path.write_text(path.read_text() + f'{{"id": "long", "text": "{long}"}}\n')
    process = project.run("results/metrics/tiny/safety_heads/questions.parquet")
    assert process.returncode == 0, process.stdout
    frame = pd.read_parquet(project.folder / "results/metrics/tiny/safety_heads/questions.parquet")
    assert set(frame["queries"]) == {PROMPTS}
    assert set(frame["queries_dropped"]) == {1}
    assert np.isfinite(frame["ships_degrees"]).all()
