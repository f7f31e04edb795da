"""Three models in one run of everything: captions count each by itself, and the one that needs `<s>` gets it."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

import caption_numbers as numbers
from atlas.analyses.published import read_table
from caption_numbers import check, of
from projects import copy_project
from three_models import LABELS, OTHER_K, make_three

TRIVIA = {"trivia": "tiny trivia"}
LENGTH, SEQUENCES = 16, 12  # of configs/tiny.yaml


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("three") / "project")
    make_three(project)
    process = project.run("figures/all")
    assert process.returncode == 0, process.stdout[-8000:]
    assert project.planned() == {}
    return project.folder


@pytest.fixture(scope="module")
def tables(run):
    paths = sorted((run / "results" / "tables").glob("*.parquet"))
    return {path.stem: read_table(path, path.stem) for path in paths}


def caption(run, figure):
    return (run / "results" / "captions" / f"{figure}.txt").read_text()


def test_sinks_of_the_model_that_begins_with_a_token_are_stock_with_it(run, tables):
    """And without it the same model has none, which is what the table said once."""
    model = AutoModelForCausalLM.from_pretrained(run / "tiny" / "begins", attn_implementation="eager").eval()
    passages = (run / "tiny" / "passages.txt").read_text().splitlines()
    ids = [[int(word[1:]) + 3 for word in passage.split()] for passage in passages]
    expected = {
        bool(front): _first_column(model, [front + row for row in ids if len(front + row) >= LENGTH])
        for front in ([1], [])
    }
    found = of(tables["sinks"], model="begins", input="natural").sort_values(["layer", "head"])
    assert found["bos"].all()
    np.testing.assert_allclose(found["alpha"], expected[True].mean(0).ravel(), atol=1e-6)
    np.testing.assert_allclose(found["sink_rate"], (expected[True] > 0.3).mean(0).ravel())
    assert (expected[True] > 0.3).mean() > 0.7 > 0.2 > (expected[False] > 0.3).mean()
    assert not of(tables["sinks"], model="base")["bos"].any()
    joined = of(tables["heads"], model="begins").sort_values(["layer", "head"])
    np.testing.assert_allclose(joined["alpha_natural"], expected[True].mean(0).ravel(), atol=1e-6)


@torch.no_grad()
def _first_column(model, rows):
    """(sequences, layers, heads) mean weight that all positions give the first, by stock eager attention."""
    given = torch.tensor([row[:LENGTH] for row in rows[:SEQUENCES]])
    weights = torch.stack(model(given, output_attentions=True).attentions, 1)
    return weights.double()[..., 0].mean(-1).numpy()


def test_every_architecture_is_in_every_figure_and_table(run, tables):
    """GPT-2, Gemma and Qwen 2; Llama's is the run of test_runs.py, and others run with --long (test_paper.py)."""
    for figure in yaml.safe_load((run / "config.yaml").read_text())["figures"]:
        for extension in ("html",) if figure == "explorer" else ("pdf", "svg", "png"):
            assert (run / "figures" / f"{figure}.{extension}").stat().st_size > 1000
    for name, frame in tables.items():
        # jobs without a model have costs too; published values are those of one model
        assert set(frame["model"]) - {""} == ({"base"} if name == "published" else set(LABELS)), name


def test_published_values_stand_beside_those_of_the_model_that_they_are_for(tables):
    frame = tables["published"]
    measured = frame[frame["measured"].notna()]
    assert set(measured["model"]) == {"base"}
    assert (measured["within"] == ((measured["published"] - measured["measured"]).abs() <= measured["tolerance"])).all()
    assert (frame.loc[frame["measured"].isna(), "reason"] != "").all()


def test_options_of_single_models_are_in_tables_and_captions(run, tables):
    found = of(tables["head_relations"], relation="word_to_synonym").groupby("model")["k"].unique()
    assert {model: ks.tolist() for model, ks in found.items()} == {
        model: [OTHER_K if model == "begins" else 5] for model in LABELS
    }
    said = caption(run, "head_categories")
    assert all(f"{label}: {WAYS[model]}; " in said for model, label in LABELS.items())


def test_only_the_chat_model_is_asked_in_a_template(run, tables):
    templates = tables["mink_trend"].groupby("model")["template"].unique()
    assert {model: list(found) for model, found in templates.items()} == {
        "base": ["raw"],
        "begins": ["raw"],
        "chat": ["chat"],
    }
    said = f"raw ({LABELS['base']}, {LABELS['begins']}), chat ({LABELS['chat']}) format"
    assert said in caption(run, "mink_depth")


def test_refusals_are_counted_by_prompts(run):
    """Of the answers themselves, before any table."""
    answers = pd.read_parquet(run / "results/activations/chat/ablated_answers/questions.parquet")
    plain = answers[answers["heads_ablated"] == 0].drop_duplicates("prompt")
    refused = int(plain["answer"].str.contains("w17").sum())
    assert 0 < refused < len(plain)
    told = f"{LABELS['chat']} refuses {refused} of {len(plain)} prompts with all heads in place."
    assert told in caption(run, "safety_effect")


WAY = "k = {} unless the relation has its own; embeddings pass the first MLP above layer 0: {}"
WAYS = {"begins": WAY.format(OTHER_K, "no"), "base": WAY.format(5, "yes"), "chat": WAY.format(5, "yes")}
OTHERWISE = (
    f"Options of single models: {LABELS['begins']}: head_categories.first_mlp: false, "
    f"head_categories.k: {{default: {OTHER_K}}}."
)
# What a caption says of the options of configs/tiny.yaml.
CONSTANT = {
    "safety_effect": ["rank 1", "4 tokens", "95% Wilson", "1 phrases"],
    "safety_heads": ["The 5 heads of each", "leading 1-dimensional", "times 1e-05", "'w3 w4 {q} w5'", "count from 0",
                     "95% bootstrap intervals over prompts (100 draws)", "begins at 0", "Computed in float32."],
    "attention_sinks": ["7 x 'w9'", "the 3 of layer 0 (0-based)", "95% Student-t", "cut at 0", "fewer than 5 prompts"],
    "head_categories": ["tau = 0.15", OTHERWISE],
    "saliency_by_layer": ["Luo et al. 2026", "95% intervals", "count from 0"],
    "probe_auroc": ["C = 1", "the 3 stratified", "95% interval"],
    "head_overlap": ["95% bootstrap", "(200 draws)", "the top 4 of", "central 95%", "q < 0.05", OTHERWISE],
    "sink_rates": ["epsilon = 0.3", "95% bootstrap", f"{SEQUENCES} sequences of {LENGTH} tokens", "count from 0"],
    "sink_profile": ["epsilon = 0.3", "95% bootstrap", f"{SEQUENCES} sequences of {LENGTH} tokens", "count from 0",
                     "up to 1 %"],
    "sink_norms": ["95% bootstrap", f"{SEQUENCES} sequences of {LENGTH} tokens"],
    "head_types": ["95% bootstrap", "second half repeats the first", "tokens drawn from the vocabulary",
                   "count from 0"],
}  # fmt: skip


@pytest.mark.parametrize("figure", CONSTANT)
def test_every_number_of_a_caption_is_that_of_the_tables(figure, run, tables):
    given = {
        "safety_effect": lambda: numbers.safety_effect(tables, LABELS)[0],
        "safety_heads": lambda: numbers.safety_heads(tables, LABELS, top=5),
        "attention_sinks": lambda: _attention(tables),
        "head_categories": lambda: _categories(tables),
        "saliency_by_layer": lambda: numbers.answers(tables["saliency_layers"], LABELS, TRIVIA),
        "probe_auroc": lambda: numbers.probe_auroc(tables, LABELS, TRIVIA)[0],
        "head_overlap": lambda: numbers.head_overlap(tables, LABELS),
        "sink_rates": list,
        "sink_profile": list,
        "sink_norms": list,
        "head_types": lambda: numbers.head_types(tables, LABELS),
    }[figure]()
    check(caption(run, figure), given, CONSTANT[figure])


def _categories(tables):
    """Each model's numbers, behind the way in which they were found."""
    found = numbers.categories(tables, LABELS, of(tables["head_categories"], significance="tau"), minimum=10)
    for model, label in LABELS.items():
        found = [phrase.replace(f"{label}: ", f"{label}: {WAYS[model]}; ") for phrase in found]
    return found


def _attention(tables):
    expected, hidden = numbers.attention_sinks(tables, LABELS, heads=3, layer=0)
    return [*expected, f"(rule: mean weight above 0.3 in a head shown): {', '.join(hidden)}."]


def test_numbers_of_the_densities(run, tables):
    said = caption(run, "saliency_density")
    expected = [
        *numbers.answers(tables["saliency"], LABELS, TRIVIA),
        *numbers.probes(tables, LABELS, TRIVIA),
        *numbers.mixtures(tables, LABELS, TRIVIA),
        ", ".join(numbers.ends(tables["saliency"], LABELS)),
    ]
    check(said, expected, ["Luo et al. 2026", "cut at 0", "99.5 % quantile", "above 2 they stand"])


def test_numbers_of_memorisation(run, tables):
    said = caption(run, "mink_depth")
    for model, label in LABELS.items():
        own = of(tables["mink"], model=model, k_percent=20.0)
        counts = ", ".join(f"{sum(own['depth'] == depth)} at depth {depth}" for depth in (1, 2, 3))
        trend = of(tables["mink_trend"], model=model, k_percent=20.0)
        assert f"{label}: {counts} ({trend['dropped'].iloc[0]} texts dropped as too short)" in said
        assert f"tau = {trend['trend_tau'].iloc[0]:.2f}, p = {trend['trend_p'].iloc[0]:.3f}" in said
        gaps = of(tables["score_gap"], model=model)
        assert f"{label}: {len(gaps)} D3 questions" in said
    assert len(tables["mink_trend"]["model"].unique()) == 3
