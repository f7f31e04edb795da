"""Two runs are the same where their figures, captions and values are; costs and metadata do not count."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from same_run import main

FRAME = pd.DataFrame(
    {"model": ["a", "b", None], "rate": [0.1, 0.2, np.nan], "layer": pd.array([0, 1, None], dtype="Int32")}
)


@pytest.fixture
def runs(tmp_path):
    for name in ("old", "new"):
        folder = tmp_path / name
        for part in ("figures", "results/captions", "results/tables", "results/metrics/tiny/sinks"):
            (folder / part).mkdir(parents=True)
        (folder / "figures" / "sinks.pdf").write_text("drawn")
        (folder / "figures" / "costs.pdf").write_text(name)
        (folder / "results" / "captions" / "sinks.txt").write_text("n = 3")
        for table in ("results/tables/sinks", "results/metrics/tiny/sinks/text"):
            write(folder / f"{table}.parquet", FRAME, versions=name)
    return tmp_path / "old", tmp_path / "new"


def write(path, frame, versions=""):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"atlas": versions.encode()}), path)


def compare(runs, capsys, *more):
    status = main([*map(str, runs), *more])
    return status, capsys.readouterr().out.splitlines()[:-1]


def test_other_metadata_and_costs_are_no_difference(runs, capsys):
    assert compare(runs, capsys, "--metrics") == (0, [])


def test_every_difference_is_named(runs, capsys):
    new = runs[1]
    write(new / "results/tables/sinks.parquet", FRAME.assign(rate=[0.1, 0.25, 0.3], model=["a", "c", None]))
    (new / "figures" / "sinks.pdf").write_text("drawn otherwise")
    (new / "figures" / "more.pdf").write_text("")
    assert compare(runs, capsys) == (
        1,
        [
            f"figures/more.pdf: only in {new}",
            "figures/sinks.pdf: other bytes",
            "results/tables/sinks.parquet: column model differs in 1 of 3 rows, first in row 1: 'b' and 'c'",
            "results/tables/sinks.parquet: column rate differs in 2 of 3 rows, by 0.05 at most; 1 null in one alone",
        ],
    )


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (FRAME.assign(more=1), "column more is only in the second"),
        (FRAME.head(2), "3 rows and 2 rows"),
        (FRAME.assign(rate=FRAME["rate"].astype("float32")), "column rate is float64 and float32"),
    ],
)
def test_other_columns_rows_and_types(runs, capsys, frame, sentence):
    write(runs[1] / "results/metrics/tiny/sinks/text.parquet", frame)
    assert compare(runs, capsys) == (0, [])
    assert compare(runs, capsys, "--metrics") == (1, [f"results/metrics/tiny/sinks/text.parquet: {sentence}"])


def test_folders_without_results_are_not_the_same(tmp_path, capsys):
    assert compare((tmp_path, tmp_path), capsys)[0] == 1
