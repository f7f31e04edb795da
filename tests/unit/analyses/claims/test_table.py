"""The tables claims and published: every claim has a row, whatever is there, and published values find their model."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

import planted_claims as planted
from atlas.analyses.claims.said import read
from atlas.analyses.claims.table import Subject, claims_table, evidences
from atlas.analyses.claims.verdicts import VERDICTS, Rule
from atlas.analyses.registry import CLAIM_FOLDERS, CLAIMS, FOLDER, TABLES
from atlas.results.tables import conform

EVERY = [(claim.id, part.name) for said in CLAIMS.values() for claim in said.claims for part in claim.parts]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return planted.verdicts(tmp_path_factory.mktemp("whole"), planted.everything(True, 40))


def test_every_claim_says_what_it_must():
    for folder, said in CLAIMS.items():
        for claim in said.claims:
            assert FOLDER[claim.analysis] == folder
            assert claim.analysis in said.reads
            assert any(part.decides for part in claim.parts), claim.id
            for text in (claim.source, claim.says, claim.traps, *(part.measure for part in claim.parts)):
                assert len(text) > 8, claim.id
            for part in claim.parts:
                assert Rule.of(part.holds).direction in ("above", "below", "inside", "outside")
    assert set(CLAIM_FOLDERS) == {analysis for said in CLAIMS.values() for analysis in said.reads}


def test_every_published_value_says_where_from_and_how_near_is_near():
    for folder, said in CLAIMS.items():
        for value in said.published:
            assert FOLDER[value.analysis] == folder
            assert value.tolerance > 0
            assert value.why
            assert value.source
            assert (value.claim, value.part) in EVERY or value.quantity
            assert bool(value.claim) != bool(value.quantity)


def test_columns_are_those_of_the_contract(whole, tmp_path):
    conform(whole, TABLES["claims"])
    conform(planted.published(tmp_path, planted.sinks(True, 40), repo="openai-community/gpt2-xl"), TABLES["published"])
    conform(planted.published(tmp_path, planted.sinks(True, 40)), TABLES["published"])  # without a row


def test_every_part_of_every_claim_has_one_row(whole):
    assert sorted(zip(whole["claim"], whole["part"], strict=True)) == sorted(EVERY)
    assert set(whole["verdict"]) | set(whole["claim_verdict"]) <= set(VERDICTS)


def test_a_verdict_has_an_interval_and_a_corrected_p(whole):
    said = whole[whole["verdict"].isin(["holds", "does not hold"])]
    assert said[["value", "low", "high", "p", "q"]].notna().all().all()
    tested = whole[whole["q"].notna()]
    assert set(whole["tests"]) == {len(tested)}
    np.testing.assert_allclose(tested["q"], false_discovery_control(tested["p"]))
    assert (said["q"] <= 0.05).all()


def test_nothing_there_is_told_by_name():
    absent = {analysis: f"analyses.{analysis} is not in the configuration" for analysis in CLAIM_FOLDERS}
    subject = Subject("own", "", False, "", absent)
    frame = claims_table({name: read(name) for name in CLAIMS}, subject, {}, planted.OPTIONS)
    conform(frame, TABLES["claims"])
    assert len(frame) == len(EVERY)
    assert set(frame["claim_verdict"]) == {"not applicable"}
    for row in frame.itertuples():
        assert row.reason == f"analyses.{row.analysis} is not in the configuration"


def test_a_table_that_is_not_there_is_told_by_name(tmp_path):
    found = planted.mink(True, 40)
    del found["own", "score_gap"]
    frame = planted.verdicts(tmp_path, found).set_index("claim")
    assert frame.loc["B4", "verdict"] == "not applicable"
    assert frame.loc["B4", "reason"] == "there is no score_gap of own"
    assert set(frame.loc["B1", "verdict"]) == {"holds"}


def test_questions_without_predecessors_have_no_gaps(tmp_path):
    found = planted.mink(True, 40)
    found["own", "score_gap"] = found["own", "score_gap"].head(0)
    frame = planted.verdicts(tmp_path, found).set_index("claim")
    assert set(frame.loc[["B4", "B5"], "verdict"]) == {"not applicable"}
    assert frame.loc[["B4", "B5"], "reason"].str.startswith("no question has a score gap").all()


@pytest.mark.parametrize(
    ("claim", "word"), [("A2", "smaller"), ("B2", "smaller"), ("B3", "earlier generation"), ("C5", "control"),
                        ("E5", "family")]
)  # fmt: skip
def test_a_relative_that_is_missing_is_told(tmp_path, claim, word):
    frame = planted.verdicts(tmp_path, planted.everything(True, 40), relatives={})
    own = frame[frame["claim"] == claim]
    assert set(own["claim_verdict"]) == {"not applicable"}
    assert own["reason"].str.contains(word).all()


def test_a_probe_without_a_control_is_still_held_to_chance(tmp_path):
    frame = planted.verdicts(tmp_path, planted.saliency(True, 40), relatives={})
    own = frame[frame["claim"] == "A4"].set_index("part")
    assert own.loc["above the control", "verdict"] == "not applicable"
    assert own.loc["above chance", "verdict"] == "holds"
    assert own.loc["above chance", "claim_verdict"] == "undecided"  # the control is a part of the claim


def test_answers_of_which_no_probe_could_be_trained_decide_nothing(tmp_path):
    found = planted.saliency(True, 40)
    found["own", "saliency"]["loss"] = "answer_nll"
    row = planted.verdicts(tmp_path, found).set_index("claim").loc["A5"]
    assert row["claim_verdict"] == "undecided"
    assert "no probe could be trained" in row["reason"]


def test_the_controls_value_stands_beside(tmp_path, whole):
    control = planted.verdicts(tmp_path / "control", planted.everything(False, 40))
    frame = planted.verdicts(tmp_path / "own", planted.everything(True, 40), of_control=control)
    np.testing.assert_array_equal(frame["control_value"], control["value"])
    assert (frame["control"] == "control").all()
    assert whole["control_value"].isna().all()


def test_verdicts_do_not_depend_on_the_order_of_rows(tmp_path, whole):
    made = planted.everything(True, 40)
    for key, found in made.items():
        if isinstance(found, pd.DataFrame) and key[1] in ("saliency", "head_categories", "safety_heads"):
            made[key] = found.sample(frac=1, random_state=1)
    again = planted.verdicts(tmp_path, made)
    columns = ["value", "verdict", "claim_verdict"]
    pd.testing.assert_frame_equal(again[columns], whole[columns])


# ---------------------------------------------------------------------------------------------------------- published
def test_published_values_are_found_by_the_hubs_name(tmp_path):
    frame = planted.published(tmp_path, planted.sinks(True, 40), repo="openai-community/gpt2-xl")
    own = frame[frame["analysis"] == "sinks"].set_index("quantity")
    row = own.loc["natural"]
    assert (row["published"], row["measured"], row["tolerance"]) == (0.77, 0.8, 0.05)
    assert row["difference"] == pytest.approx(0.03)
    assert row["within"]
    far = own.loc["repeated"]  # 0.0 where the source has 0.6228
    assert far["difference"] == pytest.approx(-0.6228)
    assert not far["within"]
    random = own.loc["rate (input random)"]
    assert np.isnan(random["measured"])
    assert random["within"] is None
    assert random["reason"] == "random is not among analyses.sinks.inputs"
    assert planted.published(tmp_path, planted.sinks(True, 40), repo="some/other").empty
    assert planted.published(tmp_path, planted.sinks(True, 40)).empty


def test_the_claims_carry_the_published_value(tmp_path):
    frame = planted.verdicts(tmp_path, planted.sinks(True, 40), repo="openai-community/gpt2-xl")
    own = frame.set_index(["claim", "part"])["published"]
    assert own["D4", "natural"] == 0.77
    assert np.isnan(own["A1", "peak"])


def test_a_value_of_another_data_set_is_told(tmp_path):
    frame = planted.published(tmp_path, planted.saliency(True, 40), repo="meta-llama/Meta-Llama-3-8B")
    own = frame[frame["claim"] == "A4"]
    assert set(own["dataset"]) == {"triviaqa", "nq", "popqa", "hotpotqa"}
    assert own["reason"].str.contains("is not among the data sets of analyses.saliency").all()


def test_maxima_and_places_are_those_of_the_scores(tmp_path):
    scores = pd.DataFrame({
        "layer": [38, 24, 42, 0], "head": [12, 4, 24, 0], "score": [0.97, 0.9, 0.95, 0.1], "sign": "direct",
        "relation": "country_to_capital",
    })  # fmt: skip
    found = {**planted.categories(True, 40), ("own", "head_relations"): scores}
    frame = planted.published(tmp_path, found, repo="openai-community/gpt2-xl").set_index("quantity")
    row = frame.loc["maximum (relation country_to_capital)"]
    assert (row["measured"], row["within"]) == (0.97, True)
    assert frame.loc["place (relation country_to_capital, layer 24, head 4)", "measured"] == 3
    assert "is not scored" in frame.loc["maximum (relation name_copying)", "reason"]


def test_judged_scores_of_the_stand_in_are_not_compared(tmp_path):
    judged = pd.DataFrame({"depth": [1, 2, 3], "score": [4.5, 4.4, 4.3], "judge": "api", "prompt": "zero_shot"})
    gaps = pd.DataFrame(
        {"direction": ["forward"], "depths": ["all"], "value": [0.08], "judge": "api", "prompt": "zero_shot"}
    )
    found = {("own", "mink"): planted.mink(True, 40)["own", "mink"]}
    for judge, known in (("api", True), ("reference", False)):
        found["own", "depth_accuracy"] = judged.assign(judge=judge)
        found["own", "discrepancy"] = gaps.assign(judge=judge)
        repo = "meta-llama/Meta-Llama-3-8B-Instruct"
        frame = planted.published(tmp_path, found, repo=repo).set_index("quantity")
        row = frame.loc["accuracy (depth 1)"]
        assert (row["measured"] == 4.5) == known
        assert ("stand-in" in row["reason"]) != known
    first = found["own", "mink"]
    assert frame.loc["median (depth 1)", "measured"] == first.loc[first["depth"] == 1, "mink"].median()


def test_the_top_head_and_refusals_of_the_source(tmp_path):
    found = {**planted.ships(True, 40), **planted.effects(True, 40)}
    frame = planted.published(tmp_path, found, repo="meta-llama/Llama-2-7b-chat-hf").set_index("quantity")
    assert "no head 26" in frame.loc["place (ablation undifferentiated, layer 2, head 26)", "reason"]
    row = frame.loc["refusals (ablation undifferentiated, ablated 0)"]
    assert (row["measured"], row["within"]) == (0.9, True)
    assert "no rate with 1 heads ablated" in frame.loc["refusals (ablation undifferentiated, ablated 1)", "reason"]


def test_evidence_of_one_data_set_is_not_that_of_another(tmp_path):
    subject = Subject("own", "", False, "", {})
    told = {"sinks": {"datasets": ["d", "e"], "relatives": {}, "options": planted.READ["sinks"]}}
    files = planted.write(tmp_path / "d", planted.sinks(True, 40))
    files |= {
        ("own", name, "e"): path
        for (_, name, _), path in planted.write(tmp_path / "e", planted.sinks(False, 40)).items()
    }
    known = evidences(subject, told, files, planted.OPTIONS)
    frame = claims_table({"sinks": read("sinks")}, subject, known, planted.OPTIONS)
    said = frame.drop_duplicates("dataset").set_index("dataset")["claim_verdict"]
    assert said.to_dict() == {"d": "holds", "e": "does not hold"}


def test_claims_look_at_nothing_of_a_relative_that_they_do_not_name(tmp_path):
    """A rule gives a job what `of:` says; with that alone every claim comes out as with everything."""
    made = planted.everything(True, 40)
    named = {
        (planted.RELATIVES[relative], name)
        for said in CLAIMS.values()
        for reads in said.reads.values()
        for relative, names in reads["of"].items()
        for name in names
    }
    some = {key: found for key, found in made.items() if key[0] == "own" or key in named}
    assert set(some) == set(made) - {("control", "saliency")}
    columns = ["claim", "part", "value", "verdict"]
    frames = [planted.verdicts(tmp_path / name, found)[columns] for name, found in (("a", some), ("b", made))]
    pd.testing.assert_frame_equal(*frames)
