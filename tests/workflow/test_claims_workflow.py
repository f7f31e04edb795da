"""Real runs of the claims: from the tables of one run, again where these change, and by name where one is missing."""

import json

import pandas as pd

from atlas.analyses.published import read_table
from atlas.analyses.registry import CLAIMS
from atlas.results.files import read_provenance

ALL = {claim.id for said in CLAIMS.values() for claim in said.claims}
AFTER = {"compute_claims": 2, "aggregate_claims": 1, "plot_claims": 1}


def claims(project):
    return read_table(project.folder / "results" / "tables" / "claims.parquet", "claims")


def test_every_claim_has_a_verdict_on_the_model_and_on_its_control(finished):
    frame = claims(finished)
    assert set(frame["model"]) == {"tiny", "tiny-shuffled"}
    for _, own in frame.groupby("model"):
        assert set(own["claim"]) == ALL
        assert own["claim_verdict"].isin(["holds", "does not hold", "undecided", "not applicable"]).all()
    silent = frame[frame["verdict"].isin(["undecided", "not applicable"])]
    assert (silent["reason"] != "").all()
    read_table(finished.folder / "results" / "tables" / "published.parquet", "published")


def test_the_controls_values_stand_beside_the_models(finished):
    frame = claims(finished).set_index(["model", "claim", "dataset", "part"])
    own, control = frame.loc["tiny"], frame.loc["tiny-shuffled"]
    both = own.join(control["value"].rename("value_there"))
    assert (own["control"] == "tiny-shuffled").all()
    pd.testing.assert_series_equal(both["control_value"], both["value_there"], check_names=False)
    assert both["control_value"].notna().sum() > 10


def test_measured_numbers_are_those_of_the_tables(finished):
    folder = finished.folder / "results" / "tables"
    frame = claims(finished).set_index(["model", "claim", "part"])["value"]
    rates = pd.read_csv(folder / "sink_rates.csv")
    mink = pd.read_csv(folder / "mink.csv").query("k_percent == 20 and text == 'answer'")
    for model in ("tiny", "tiny-shuffled"):
        whole = rates[(rates["model"] == model) & rates["layer"].isna()].set_index("input")["rate"]
        assert frame[model, "D4", "natural"] == whole["natural"]
        medians = mink[mink["model"] == model].groupby("depth")["mink"].median()
        assert abs(frame[model, "B1", "D3 - D2"] - (medians[3] - medians[2])) < 1e-9


def test_provenance_names_what_was_read(finished):
    document = read_provenance(finished.folder / "results" / "metrics" / "tiny" / "claims.parquet")
    assert "results/metrics/tiny/saliency/trivia.parquet" in document["sources"]
    assert "results/metrics/tiny-shuffled/head_categories/relations.parquet" in document["sources"]
    assert json.dumps(document)


def test_an_analysis_that_is_switched_off_is_told_by_name_and_runs_no_model(project):
    project.configure(lambda config: config["analyses"].update(mink=None))
    jobs = project.planned("results/tables/claims.parquet")
    assert jobs == {"compute_claims": 2, "aggregate_claims": 1}
    assert project.run("results/tables/claims.parquet").returncode == 0
    frame = claims(project).set_index("claim")
    assert set(frame.loc[["B1", "B4"], "reason"]) == {"analyses.mink is not in the configuration"}
    assert set(frame.loc[["B1", "B4"], "claim_verdict"]) == {"not applicable"}


def test_a_threshold_plans_the_claims_alone(project):
    project.edit("scripts/atlas/analyses/sinks/claims.yaml", "{above: 0.5}", "{above: 0.4}")
    assert project.planned() == {**AFTER, "aggregate_published": 1, "manifest": 1}


def test_the_explorer_shows_the_claims_where_it_is_asked_to(project):
    """Only then does it wait for them."""
    page = project.folder / "figures" / "explorer.html"
    assert 'id="claims"' not in page.read_text()
    project.configure(lambda config: config["figures"].setdefault("explorer", {}).update(claims=True))
    assert project.planned("figures/explorer") == {"figures/explorer": 1, "plot_explorer": 1}
    assert project.run("figures/explorer").returncode == 0
    said = page.read_text().partition('<section id="claims"')[2].partition("</section>")[0]
    decided = claims(project).query("decides")
    assert all(f'<th scope="row">{claim}</th>' in said for claim in decided["claim"])
