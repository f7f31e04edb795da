"""The models of the sources: the full plan without network, and every architecture in small through all of it."""

import re

import pandas as pd
import pytest
import yaml

from paper_models import save_miniature
from places import ROOT
from projects import copy_project

PUBLISHED = yaml.safe_load((ROOT / "configs" / "paper.yaml").read_text())["models"]
PAPER = ["--configfile", "configs/paper.yaml", "--config", "allow_unpinned=True"]
# architecture -> the model of the sources that it is a miniature of. Llama with fewer value heads than heads is `tiny`,
# which runs through everything in test_runs.py.
MINIATURES = {
    "llama-mha": "llama-2-7b-chat",
    "gpt2": "gpt2-xl",
    "phi": "phi-2",
    "gpt-neox": "pythia-12b",
}


def test_full_plan_resolves_without_network(fresh_shared):
    jobs = fresh_shared.planned("figures/all", *PAPER)
    block = yaml.safe_load((fresh_shared.folder / "configs" / "paper.yaml").read_text())["analyses"]
    expected = {
        "extract_attention": ("meaningless_tokens", 1),
        "extract_head_mappings": ("head_categories", 1),
        "extract_token_logprobs": ("mink", 2),
        "generate_answers": ("mink", 1),  # of the data set with graphs alone
        "extract_head_ablations": ("safety_heads", 2),
    }
    for rule, (analysis, datasets) in expected.items():
        assert jobs[rule] == len(block[analysis]["models"]) * block[analysis]["shards"] * datasets, rule
    assert jobs["extract_sinks"] == len(block["sinks"]["models"]) == 3
    assert jobs["compute_head_categories"] == jobs["judge_answers"] == jobs["compute_score_gap"] == 4
    assert jobs["compute_mink"] == 8
    assert jobs["generate_ablated"] == jobs["search_head_groups"] == 2
    assert jobs["plot_attention_sinks"] == jobs["plot_head_categories"] == 2
    for plot in ("sink_rates", "category_share", "mink_depth", "safety_heads", "safety_effect"):
        assert jobs[f"plot_{plot}"] == 1
    assert jobs["download_package"] >= 2


def test_all_but_the_score_gaps_is_planned_with_every_source_pinned(fresh_shared):
    jobs = fresh_shared.planned("figures/all", "--configfile", "configs/paper.yaml", "configs/paper_pinned.yaml")
    assert jobs["compute_mink"] == jobs["judge_answers"] == jobs["compute_score_gap"] == 4
    assert jobs["plot_mink_depth"] == 1
    refused = fresh_shared.run("-n", "figures/all", "--configfile", "configs/paper.yaml")
    assert refused.returncode != 0
    assert "datasets.depthqa-graphs.source.hub: nothing pins it" in refused.stdout


def asked(project, *arguments):
    """[(model, {resource: number})] of every job of one model in a dry run on this machine, and what the run said."""
    said = project.run("-n", "figures/all", *arguments).stdout
    found = []
    for block in re.split(r"\n(?=(?:local)?rule )", said):
        model, resources = re.search(r"wildcards: .*?model=([^,\n]+)", block), re.search(r"resources: (.*)", block)
        if model and resources:
            numbers = re.findall(r"(gpu|gpu_mb|runtime|mem_mb)=(\d+)", resources[1])
            found.append((model[1], {name: int(number) for name, number in numbers}))
    return found, said


def test_the_models_of_the_sources_are_planned_on_gpus_on_a_machine_without_one(fresh_shared):
    """From the models alone: the machine that plans or submits is not the one that runs."""
    jobs, said = asked(fresh_shared, *PAPER, "--resources", "gpu=8")
    gpus = {}
    for model, resources in jobs:
        assert resources["runtime"] <= 72 * 60
        assert resources.get("gpu_mb", 0) <= 80 * 2**30 / 1e6  # each fits a card of 80 GB
        assert bool(resources.get("gpu_mb")) == bool(resources.get("gpu"))
        gpus[model] = max(gpus.get(model, 0), resources.get("gpu", 0))
    assert gpus.pop("llama-3-70b") == gpus.pop("llama-2-70b-chat") == gpus.pop("llama-3-70b-instruct") == 3
    assert len(gpus) >= 7
    assert {model for model, number in gpus.items() if number != 1} == set()
    assert "planned on CPUs" not in said
    # As docs/gpu.md says
    assert max(resources["runtime"] for _, resources in jobs) <= 7 * 60
    blocks = [block for block in re.split(r"\n(?=(?:local)?rule )", said) if "rule extract_token_logprobs" in block]
    scored = [re.search(r"\bgpu=(\d+)", block)[1] for block in blocks if re.search(r"model=[\w-]*70b", block)]
    assert set(scored) == {"2"}


def test_a_large_model_that_is_planned_on_cpus_is_named(fresh_shared):
    overlay = fresh_shared.write("cpus.yaml", "models: {llama-3-8b: {device: auto}, phi-2: {device: cpu}}\n")
    _, said = asked(fresh_shared, "--configfile", "configs/paper.yaml", str(overlay), *PAPER[2:])
    assert said.count("planned on CPUs") == 1  # Phi-2 has fewer than three billion parameters
    assert "llama-3-8b has 8.0 billion parameters" in said


def test_other_sizes_of_one_family_draw_every_figure(fresh_shared):
    jobs = fresh_shared.planned("figures/all", "--configfile", "configs/qwen.yaml")
    default = set(yaml.safe_load((ROOT / "config.yaml").read_text())["figures"]) - {"costs"}  # `planned` leaves it out
    assert sum(count for rule, count in jobs.items() if rule.startswith("plot_")) == len(default)
    assert jobs["download_model"] == 2


@pytest.fixture(scope="module")
def miniatures(request, tmp_path_factory):
    """A project in which random models of each other architecture have run through everything, on few samples.

    Only with --long: Llama's runs in test_runs.py by default; GPT-2's, Gemma's and Qwen 2's in test_three_models.py.
    """
    if not request.config.getoption("--long"):
        pytest.skip("only with --long: make test-long")
    project = copy_project(tmp_path_factory.mktemp("miniatures"))

    def change(config):
        del config["models"]["tiny"], config["models"]["tiny-shuffled"]
        for key, model in MINIATURES.items():
            save_miniature(project.folder / "tiny" / key, model)
            published = PUBLISHED[model]["source"]["hub"]["repo"]
            config["models"][key] = {
                "source": {"path": f"tiny/{key}"}, "parameters": 100_000, "published_as": published, "family": "Any",
            }  # fmt: skip
        config["datasets"]["questions"]["limit"] = 12
        for block in config["analyses"].values():
            block.pop("models", None)
            if "shards" in block:
                block["shards"] = 1
        config["models"]["llama-mha"]["options"] = {"head_categories": {"first_mlp": False, "k": {"default": 12}}}
        config["analyses"]["mink"]["predictions"] = {"questions": 4, "max_new_tokens": [2, 3, 4], "batch_size": 32}

    project.configure(change)
    process = project.run("figures/all")
    assert process.returncode == 0, process.stdout
    return project


@pytest.mark.slow
def test_every_architecture_runs_through_everything(miniatures):
    figures = yaml.safe_load((miniatures.folder / "config.yaml").read_text())["figures"]
    for figure in figures:
        for extension in ("html",) if figure == "explorer" else ("pdf", "svg", "png"):
            assert (miniatures.folder / "figures" / f"{figure}.{extension}").stat().st_size > 1000
    for path in (miniatures.folder / "results" / "tables").glob("*.parquet"):
        frame = pd.read_parquet(path)
        # jobs without a model have costs too
        unknown = {"phi"} if path.stem == "published" else set()  # no source gives a number of it
        assert set(frame["model"]) - {""} == set(MINIATURES) - unknown, path.name
    assert miniatures.planned() == {}


@pytest.mark.slow
def test_published_values_stand_beside_those_of_the_miniatures(miniatures):
    frame = pd.read_parquet(miniatures.folder / "results" / "tables" / "published.parquet")
    measured = frame[frame["measured"].notna()]
    assert set(measured["model"]) >= {"llama-mha", "gpt2"}
    assert (measured["within"] == ((measured["published"] - measured["measured"]).abs() <= measured["tolerance"])).all()
    assert (frame.loc[frame["measured"].isna(), "reason"] != "").all()


@pytest.mark.slow
def test_options_of_single_models_are_in_tables_and_captions(miniatures):
    relations = pd.read_parquet(miniatures.folder / "results" / "tables" / "head_relations.parquet")
    by_model = relations[relations["relation"] == "word_to_synonym"].groupby("model")["k"].unique()
    assert {model: ks.tolist() for model, ks in by_model.items()} == {
        key: [12] if key == "llama-mha" else [5] for key in MINIATURES
    }
    caption = (miniatures.folder / "results" / "captions" / "head_categories.txt").read_text()
    way = "k = {} unless the relation has its own; embeddings pass the first MLP above layer 0: {}"
    assert f"llama-mha: {way.format(12, 'no')}" in caption
    assert f"gpt2: {way.format(5, 'yes')}" in caption
