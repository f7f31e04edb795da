"""Losses of relations from few prompts: what one prompt cannot tell, and what verdicts make of it."""

import numpy as np
import pandas as pd
import pytest

import planted_claims as planted
from atlas.analyses.head_categories.effect_metrics import effect_table
from atlas.analyses.head_categories.implementing import direct_scores
from atlas.analyses.head_categories.relation_effect import variants

OPTIONS = {"confidence": 0.95, "bootstrap": 200, "seed": 0}


def answers(prompts):
    """Two heads of each relation of {relation: prompts} are ablated on it: every other prompt is lost with them."""
    rows = []
    for place, (relation, count) in enumerate(prompts.items()):
        other = list(prompts)[place - 1]
        kinds = [("none", "none", relation, 0), ("implementing", "relation", relation, 0)]
        kinds += [("implementing", "random", relation, draw) for draw in (0, 1)] + [("implementing", "other", other, 0)]
        for heads, selection, task, draw in kinds:
            for i in range(count if task == relation else prompts[other]):
                right = selection != "relation" or i % 2 == 1
                rows.append((relation, task, heads, selection, draw, f"s{i}", f"t{i}", right, -1.0))
    columns = ["relation", "task", "heads_set", "selection", "draw", "source", "target", "correct", "logprob"]
    return pd.DataFrame(rows, columns=columns).assign(heads="[[0, 1], [0, 2]]")


def test_one_prompt_has_a_loss_but_no_interval():
    found = effect_table(answers({"a": 1, "b": 6}), {"a": "A", "b": "B"}, {}, {"model": "m"}, OPTIONS)
    found = found.set_index(["relation", "selection"])
    assert found.loc[("a", "relation"), "drop"] == 1
    assert found.loc[("b", "relation"), "drop"] == 0.5
    for place, prompts in ((("a", "relation"), 1), (("a", "random"), 1), (("b", "other"), 1), (("b", "relation"), 6)):
        row = found.loc[place]
        assert row["prompts"] == prompts
        assert np.isnan(row[["drop_low", "drop_high"]].to_numpy(float)).tolist() == [prompts == 1] * 2
        assert 0 <= row["low"] < row["high"] <= 1  # of a share one prompt says something
    assert found.loc[("b", "relation"), "drop_low"] < 0.5 < found.loc[("b", "relation"), "drop_high"]


@pytest.mark.parametrize("wide", [0, 2])
def test_c6_takes_no_relation_of_one_prompt(wide, tmp_path):
    """Many of one prompt each gave an interval of no width, and with it a verdict."""
    prompts = {f"r{i}": 1 for i in range(40)} | {f"w{i}": 20 for i in range(wide)}
    made = {**planted.everything(True, 31), ("own", "relation_answers"): answers(prompts)}
    row = planted.verdicts(tmp_path, made).set_index(["claim", "part"]).loc[("C6", "against random heads")]
    if wide:
        assert (row["value"], row["n"], row["verdict"]) == (0.5, 40, "holds")
        assert row["low"] < 0.5 < row["high"]
        assert row["effect_kind"].endswith("in 2 relations")
    else:
        assert row["verdict"] == "undecided"
        assert row["reason"] == "no relation has two prompts or more, without which there is no interval"


SETS = {"heads": ["implementing"], "tau": 0.15, "draws": 4, "others": 1, "minimum_accuracy": 0.1, "seed": 0}


def test_random_heads_are_of_the_same_layers_and_the_table_tells_where_not():
    """Three of four heads of layer 1 implement a relation: two of the random ones stand elsewhere."""
    ranks = {"layers": np.arange(3), "heads": np.arange(4), "rank_direct": np.full((3, 4, 5), 500)}
    ranks["rank_direct"][1, :3] = 0
    scores = direct_scores(ranks, pd.DataFrame({"relation": ["a"] * 5, "category": "A"}), {"default": 10})
    found = variants(scores, {"a": 1.0}, SETS)
    drawn = [one.heads for one in found if one.selection == "random"]
    assert len(drawn) == 4
    for heads in drawn:
        assert len(set(heads)) == 3
        assert [head for layer, head in heads if layer == 1] == [3]
    table = answers({"a": 6})
    told = {one.draw: str([list(place) for place in one.heads]) for one in found if one.selection == "random"}
    is_random = table["selection"] == "random"
    table.loc[is_random, "heads"] = table.loc[is_random, "draw"].map(told)
    table.loc[table["selection"] == "relation", "heads"] = "[[1, 0], [1, 1], [1, 2]]"
    effect = effect_table(table, {"a": "A"}, {}, {"model": "m"}, OPTIONS).set_index("selection")
    assert effect["elsewhere"].drop(["random"]).isna().all()
    assert effect.loc["random", "elsewhere"] == 2


def test_fewer_random_heads_than_the_set_has_are_no_control(tmp_path):
    """They lose less because they are fewer; of none at all nothing is lost, and the claim held."""
    ranks = {"layers": np.arange(1), "heads": np.arange(4), "rank_direct": np.full((1, 4, 5), 500)}
    ranks["rank_direct"][0, :3] = 0
    scores = direct_scores(ranks, pd.DataFrame({"relation": ["a"] * 5, "category": "A"}), {"default": 10})
    assert [one.selection for one in variants(scores, {"a": 1.0}, SETS)] == ["relation"]
    few = answers({"a": 30, "b": 30})
    made = {**planted.everything(True, 31), ("own", "relation_answers"): few[few["selection"] != "random"]}
    rows = planted.verdicts(tmp_path, made).set_index(["claim", "part"]).loc["C6"]
    assert rows.loc["against random heads", "verdict"] == "undecided"
    assert rows.loc["against random heads", "reason"].startswith("the model has fewer other heads")
    assert rows.loc["against other relations", "verdict"] == "holds"
