"""Rows for a forecast: those of a file of lines that lies here, as sample and limit leave them."""

from atlas.planning.rows_at_hand import rows_at_hand


def test_lines_of_a_file_that_is_here(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n" * 64)
    (tmp_path / "table.parquet").write_bytes(b"\n" * 9)
    here = {"source": {"path": "rows.jsonl"}}
    assert rows_at_hand({**here, "sample": None, "limit": None}, tmp_path) == 64
    assert rows_at_hand({**here, "limit": 10}, tmp_path) == 10
    assert rows_at_hand({**here, "limit": 100}, tmp_path) == 64
    assert rows_at_hand({**here, "sample": {"n": 7, "seed": 0}}, tmp_path) == 7
    for source in (
        {"path": "table.parquet"},
        {"path": "none.jsonl"},
        {"hub": {}},
        [{"path": "rows.jsonl"}, {"hub": {}}],
    ):
        assert rows_at_hand({"source": source, "limit": 5}, tmp_path) is None
