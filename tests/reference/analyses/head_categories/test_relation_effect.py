"""Answers with heads ablated equal a loop over the stock model; a planted relation head costs its relation alone."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import families
from atlas.analyses.head_categories.causal import Completing
from atlas.analyses.head_categories.completions import SPLIT, Completion, completions, unasked
from atlas.analyses.head_categories.effect_metrics import effect_table, losses, resampled_loss
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_categories.implementing import direct_scores
from atlas.analyses.head_categories.relation_effect import relation_answers
from atlas.analyses.registry import TABLES
from atlas.attention import EDITS, GENERATION, checked
from atlas.models.limits import Limits
from atlas.models.loading import load_tokenizer
from atlas.results.tables import conform
from attention_engine_reference import _projection, attention_module
from head_maps import pairs_of
from planted_weights import relation_heads
from tiny_models import save_tokenizer

LIMITS = Limits(128, 199)
OPTIONS = {
    "templates": {"default": "{examples} {source}"}, "example": " {source} {target}", "shots": 2, "prompts": 12,
    "heads": ["implementing", 1], "tau": 0.15, "draws": 2, "others": 1, "minimum_accuracy": 0.5, "seed": 3,
}  # fmt: skip


@pytest.fixture
def tokenizer(tmp_path):
    save_tokenizer(tmp_path)
    return load_tokenizer(tmp_path)


@torch.no_grad()
def stock_logits(model, ids, heads, positions, means=None):
    """Last logits (V,) of one prompt without cache and padding, the heads' slices of the o_proj input replaced."""
    number, handles = model.config.get_text_config().num_attention_heads, []

    def hook(layer, own):
        def pre(module, args):
            z = args[0].clone()
            width = z.shape[-1] // number
            where = slice(-1, None) if positions == "last" else slice(None)
            for head in own:
                z[0, where, head * width : (head + 1) * width] = 0 if means is None else means[layer][head].to(z)
            return (z, *args[1:])

        return pre

    for layer in {layer for layer, _ in heads}:
        own = [head for at, head in heads if at == layer]
        handles.append(_projection(attention_module(model, layer)).register_forward_pre_hook(hook(layer, own)))
    try:
        return model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


def prompts(alike=4, count=5, seed=1):
    """Prompts of several lengths that begin with the same ids."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        return tuple(torch.randint(3, 190, (n,), generator=generator).tolist())

    start = draw(alike)
    return [Completion(start + draw(1 + i % 3), 7 + i, "s", "t", alike) for i in range(count)]


@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "mistral_sliding", "gemma2", "gpt_oss"])
def test_answers_equal_the_stock_model(name, positions):
    """Tokens and log-probabilities, of no head, of heads of several layers, and for any number of rows at once."""
    model = checked(families.build(name).requires_grad_(False), EDITS, GENERATION)
    asked, groups = prompts(), [[], [(0, 1)], [(1, 2), (3, 0), (3, 5)]]
    every = [one.ids for one in asked]
    for rows in (None, 2):
        found = Completing(model, every, positions=positions, ablation="zero", max_rows=rows).answers(asked, groups)
        for g, heads in enumerate(groups):
            for p, one in enumerate(asked):
                logits = stock_logits(model, one.ids, heads, positions).double()
                assert found.tokens[g, p] == int(logits.argmax())
                assert abs(found.logprobs[g, p] - float(logits.log_softmax(-1)[one.target])) < 2e-4
    assert np.abs(found.logprobs[0] - found.logprobs[2]).max() > 1e-3


def test_means_take_the_place_of_outputs():
    import head_ablation_reference as reference

    model = families.build("llama").requires_grad_(False)
    asked = prompts()
    every = [one.ids for one in asked]
    means = reference.head_means(model, every)
    found = Completing(model, every, positions="last", ablation="mean", max_rows=None).answers(asked, [[(2, 3)]])
    for p, one in enumerate(asked):
        logits = stock_logits(model, one.ids, [(2, 3)], "last", means).double()
        assert abs(found.logprobs[0, p] - float(logits.log_softmax(-1)[one.target])) < 2e-4


@pytest.fixture
def effect(tmp_path, tokenizer):
    """(answers, table) of the planted model, by the map of its own weights."""
    model = relation_heads()
    model.save_pretrained(tmp_path / "model")
    pairs = pairs_of(10, 50)
    ranks = map_heads(tmp_path / "model", pairs, first_mlp=False)
    scores = direct_scores(ranks, pairs, {"default": 1})
    assert scores.loc[scores["score"] > 0.15, ["relation", "layer", "head"]].values.tolist() == [
        ["next_10", 1, 2],
        ["next_50", 2, 4],
    ]
    asked = {
        name: completions(tokenizer, rows, {**OPTIONS, "shots": 0, "templates": {"default": "{source}"}}, LIMITS)[0]
        for name, rows in pairs.groupby("relation")
    }
    completing = Completing(model, [], positions="last", ablation="zero", max_rows=None)
    answers = relation_answers(completing, tokenizer, asked, scores, OPTIONS)
    categories = dict(zip(pairs["relation"], pairs["category"], strict=True))
    options = {"confidence": 0.95, "bootstrap": 200, "seed": 0}
    return answers, effect_table(answers, categories, {}, {"model": "m", "dataset": "d"}, options)


def test_a_planted_head_costs_its_relation_and_no_other(effect):
    answers, table = effect
    assert set(table.columns) == set(TABLES["relation_effect"])
    assert set(answers.columns) | {"model", "dataset"} == set(TABLES["relation_answers"])
    found = table.set_index(["relation", "heads_set", "selection"]).sort_index()
    for relation, head in (("next_10", [1, 2]), ("next_50", [2, 4])):
        assert found.loc[(relation, "none", "none"), "accuracy"] == 1
        for name in ("implementing", "1"):
            own = found.loc[(relation, name)]
            assert own["accuracy"].to_dict() == {"relation": 0, "random": 1, "other": 1}
            assert own["drop"].to_dict() == {"relation": 1, "random": 0, "other": 0}
            assert json.loads(own.loc["relation", "heads"]) == [head]
            assert own.loc["other", "tasks"] == {"next_10": "next_50", "next_50": "next_10"}[relation]
            assert own["draws"].to_dict() == {"relation": 1, "random": 2, "other": 1}
    drawn = answers[answers["selection"] == "random"]
    assert {json.loads(heads)[0][0] for heads in drawn.loc[drawn["relation"] == "next_10", "heads"]} == {1}
    assert not set(drawn["heads"]) & {"[[1, 2]]", "[[2, 4]]"}


def test_losses_are_of_the_same_prompts_without_ablation(effect):
    answers, table = effect
    lost = losses(answers)
    for row in lost.sample(20, random_state=0).itertuples():
        same = (answers["task"] == row.task) & (answers["source"] == row.source)
        clean = answers[same & (answers["selection"] == "none")].iloc[0]
        own = answers[same & (answers["relation"] == row.relation) & (answers["heads_set"] == row.heads_set)]
        own = own[own["selection"] == row.selection]
        assert row.lost == clean["correct"] - own["correct"].mean()
        assert abs(row.logprob_lost - (clean["logprob"] - own["logprob"].mean())) < 1e-12
    part = lost[(lost["relation"] == "next_10") & (lost["selection"] == "relation") & (lost["heads_set"] == "1")]
    own = table.set_index(["relation", "heads_set", "selection"]).loc[("next_10", "1", "relation")]
    assert abs(own["logprob_drop"] - part["logprob_lost"].mean()) < 1e-12


def test_losses_that_cancel_are_zero_and_no_rest_of_rounding():
    """Three draws of random heads give thirds, whose sums are 1e-18 where they should be nothing."""
    lost = [1 / 3, 1 / 3, -2 / 3, 0.1 + 0.2, -0.3]
    assert sum(lost) != 0
    rows = pd.DataFrame({"task": "a", "lost": lost})
    assert resampled_loss(rows, draws=50, seed=0)[0] == 0
    replicates = resampled_loss(pd.DataFrame({"task": ["a", "b"], "lost": [0.1 + 0.2, -0.3]}), draws=9, seed=0)[1]
    assert (replicates == 0).all()


def test_prompts_hold_examples_that_are_not_asked_for(tokenizer):
    pairs = pairs_of(10)
    found, dropped = completions(tokenizer, pairs, OPTIONS, LIMITS)
    assert dropped == {}
    assert len(found) == 12
    shown = found[0].ids[:4]
    assert all(one.ids[:4] == shown and one.ids[one.place] == one.ids[-1] for one in found)
    assert not {shown[0], shown[1], shown[2], shown[3]} & {one.ids[-1] for one in found}
    assert {(one.ids[-1], one.target) for one in found} <= set(zip(pairs["source_id"], pairs["target_id"], strict=True))
    assert completions(tokenizer, pairs, {**OPTIONS, "seed": 4}, LIMITS)[0][0].ids[:4] != shown
    found, dropped = completions(tokenizer, pairs, {**OPTIONS, "templates": {"default": "x{source}"}}, LIMITS)
    assert found == []
    assert unasked(dropped) == "no pair makes a prompt (30 source is not one token there)"
    assert unasked({}) == "no pair makes a prompt (all stand in the examples)"


def test_a_relation_that_cannot_be_asked_for_is_a_row_of_nulls_with_the_reason(effect):
    answers, table = effect
    categories = {"next_10": "Algorithmic", "next_50": "Algorithmic", "lost": "Linguistic"}
    options = {"confidence": 0.95, "bootstrap": 200, "seed": 0}
    found = effect_table(answers, categories, {"lost": {SPLIT: 7}}, {"model": "m", "dataset": "d"}, options)
    found = conform(found, TABLES["relation_effect"])
    pd.testing.assert_frame_equal(found[found["relation"] != "lost"], conform(table, TABLES["relation_effect"]))
    row = found[found["relation"] == "lost"].iloc[0]
    assert (row["category"], row["selection"], row["prompts"]) == ("Linguistic", "none", 0)
    assert row["reason"] == "no pair makes a prompt (7 source is not one token there)"
    assert row[["base_accuracy", "accuracy", "low", "high", "drop", "drop_low", "logprob_drop"]].isna().all()
