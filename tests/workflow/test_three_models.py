"""Three models in one run of everything: captions count each by itself, and the one that needs `<s>` gets it."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

import caption_numbers as numbers
from atlas.analyses.published import read_table
from caption_numbers import check, of
from projects import copy_project
from three_models import LABELS, make_three

TRIVIA = {"trivia": "tiny trivia"}
LENGTH, SEQUENCES = 16, 12  # of configs/tiny.yaml


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("three") / "project")
    make_three(project)
    process = project.run("figures/all")
    assert process.returncode == 0, process.stdout[-8000:]
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
    expected = (
        {
            front: _first_column(model, [front + row for row in ids if len(front + row) >= LENGTH])
            for front in ((1,), ())
        }
        if False
        else {
            bool(front): _first_column(model, [front + row for row in ids if len(front + row) >= LENGTH])
            for front in ([1], [])
        }
    )
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


# What a caption says of the options of configs/tiny.yaml.
CONSTANT = {
    "safety_effect": ["rank 1", "4 tokens", "95% Wilson", "1 phrases"],
    "safety_heads": ["The 5 heads of each", "leading 1-dimensional", "times 1e-05", "'w3 w4 {q} w5'", "count from 0",
                     "95% bootstrap intervals over prompts (100 draws)", "begins at 0", "Computed in float32."],
    "attention_sinks": ["7 x 'w9'", "the 3 of layer 0 (0-based)", "95% Student-t", "cut at 0", "fewer than 5 prompts"],
    "head_categories": ["tau = 0.15", "k = 5", "above layer 0"],
    "saliency_by_layer": ["Luo et al. 2026", "95% intervals", "count from 0"],
    "probe_auroc": ["C = 1", "the 3 stratified", "95% interval"],
    "head_overlap": ["95% bootstrap", "(200 draws)", "the top 4 of", "central 95%", "q < 0.05"],
    "sink_rates": ["epsilon = 0.3", "95% bootstrap", f"{SEQUENCES} sequences of {LENGTH} tokens", "count from 0"],
    "sink_profile": ["epsilon = 0.3", "95% bootstrap", f"{SEQUENCES} sequences of {LENGTH} tokens", "count from 0"],
    "head_types": ["95% bootstrap", "second half repeats the first", "tokens drawn from the vocabulary"],
}  # fmt: skip


@pytest.mark.parametrize("figure", CONSTANT)
def test_every_number_of_a_caption_is_that_of_the_tables(figure, run, tables):
    given = {
        "safety_effect": lambda: numbers.safety_effect(tables, LABELS)[0],
        "safety_heads": lambda: numbers.safety_heads(tables, LABELS, top=5),
        "attention_sinks": lambda: _attention(tables),
        "head_categories": lambda: numbers.categories(
            tables, LABELS, of(tables["head_categories"], significance="tau"), minimum=10
        ),
        "saliency_by_layer": lambda: numbers.answers(tables["saliency_layers"], LABELS, TRIVIA),
        "probe_auroc": lambda: numbers.probe_auroc(tables, LABELS, TRIVIA)[0],
        "head_overlap": lambda: numbers.head_overlap(tables, LABELS),
        "sink_rates": list,
        "sink_profile": list,
        "head_types": lambda: numbers.head_types(tables, LABELS),
    }[figure]()
    check(caption(run, figure), given, CONSTANT[figure])


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
