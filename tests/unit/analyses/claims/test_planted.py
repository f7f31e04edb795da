"""Every claim: true by construction it holds, false it does not, and on a handful of samples it is undecided."""

import pytest

from atlas.analyses.claims.said import read
from planted_claims import FOLDERS, everything, verdicts

CLAIMS = [claim.id for folder in FOLDERS for claim in read(folder).claims]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """{kind: {claim: its row of every part}}."""
    kinds = {"holds": (True, 40), "does not hold": (False, 40), "undecided": (True, 5)}
    return {
        kind: dict(list(verdicts(tmp_path_factory.mktemp("planted"), everything(*how)).groupby("claim")))
        for kind, how in kinds.items()
    }


def test_all_claims_of_the_sources_are_there():
    assert sorted(CLAIMS) == [
        *("A1", "A2", "A3", "A4", "A5"), *("B1", "B2", "B3", "B4", "B5"), *("C1", "C2", "C3", "C4", "C5", "C6", "C7"),
        *("D1", "D2", "D3", "D4"), *("E1", "E2", "E3", "E4", "E5"),
    ]  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("verdict", ["holds", "does not hold", "undecided"])
def test_a_planted_claim_gets_its_verdict(planted, claim, verdict):
    rows = planted[verdict][claim]
    assert set(rows["claim_verdict"]) == {verdict}, rows[["part", "value", "low", "high", "q", "verdict", "reason"]]
    # Each part says it, but for those that only another model can be put to.
    said = rows[rows["verdict"] != "not applicable"]
    assert set(said["verdict"]) == {verdict}, said[["part", "value", "low", "high", "verdict", "reason"]]
    assert rows.loc[rows["verdict"] == "not applicable", "part"].isin(["heads of the source"]).all()


@pytest.mark.parametrize("claim", CLAIMS)
def test_too_few_samples_are_told_with_how_many_would_do(planted, claim):
    for row in planted["undecided"][claim].itertuples():
        if row.verdict == "undecided":
            assert row.n < 10
            assert row.reason.startswith(f"n = {row.n} ")
            assert row.needed >= 10
