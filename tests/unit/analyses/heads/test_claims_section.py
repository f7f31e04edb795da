"""The claims on the explorer's page: every claim and model has its verdict, as text that no label can break out of."""

from xml.etree import ElementTree

import pytest

from atlas.analyses.claims.verdicts import VERDICTS
from atlas.analyses.heads.claims_section import SIGNS, claims_section
from made_figures import configuration
from made_tables import tables_of

NASTY = '<script>alert("x")</script> & co'


@pytest.fixture(scope="module")
def claims():
    return tables_of(configuration(["Alpha", NASTY], "{}"))[0]["claims"]


def cells(page):
    table = ElementTree.fromstring(page).find(".//table")
    head = [cell.text for cell in table.find("thead/tr")]
    return head, [["".join(part or "" for part in cell.itertext()) for cell in row] for row in table.find("tbody")]


def test_verdicts_and_values_are_those_of_the_table(claims):
    page = claims_section(claims, {"m0": "Alpha", "m1": NASTY}).replace("<br>", "<br/>")
    head, rows = cells(page)
    assert head == ["claim", "it says", "Alpha", NASTY]
    decides = claims[claims["decides"]]
    assert {row[0] for row in rows} == set(decides["claim"])
    for row in rows:
        for model, text in zip(("m0", "m1"), row[2:], strict=True):
            own = decides[(decides["model"] == model) & (decides["claim"] == row[0])]
            assert any(verdict in text for verdict in own["claim_verdict"])
            assert not own["value"].notna().all() or any(f"{value:.3g} [" in text for value in own["value"])
    assert "<script" not in page


def test_every_verdict_has_a_sign():
    assert set(SIGNS) == set(VERDICTS)


def test_without_claims_there_is_no_section(claims):
    assert claims_section(None, {"m0": "Alpha"}) == ""
    assert claims_section(claims.iloc[:0], {"m0": "Alpha"}) == ""
