"""Losses of relations from few prompts: what one prompt cannot tell, and what verdicts make of it."""

import numpy as np
import pandas as pd
import pytest

import planted_claims as planted
from atlas.analyses.head_categories.effect_metrics import effect_table

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
