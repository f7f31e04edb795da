"""The log of a job: versions, threads, what was done at what rate, what was written, device and memory."""

import json
import logging
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.results.files import write_frame


@pytest.fixture
def fresh_job(monkeypatch):
    """The module as a new process has it."""
    monkeypatch.delitem(sys.modules, "job", raising=False)
    import job

    yield job
    logging.captureWarnings(False)
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, logging.FileHandler):
            handler.close()
            logging.getLogger().removeHandler(handler)


def described(folder, output=()):
    wildcards = {"model": "tiny"}
    return SimpleNamespace(
        log=[str(folder / "logs" / "job.log")], rule="extract_x", wildcards=wildcards, threads=3, output=list(output)
    )


def test_log_tells_rows_rates_and_what_was_written(fresh_job, tmp_path):
    output = tmp_path / "table.parquet"
    with fresh_job.job(described(tmp_path, [output])):
        groups = [[1, 2, 3], [4, 5], [6]]
        found = []
        for group in fresh_job.progress("attention", "batch")(groups):
            time.sleep(0.005)  # seconds are told to the millisecond
            found.append(group)
        assert found == groups
        with fresh_job.counting("mappings", "layer", 2) as advance:
            advance(0)
            advance(1)
        write_frame(output, pd.DataFrame({"x": range(7)}), {})
    text = (tmp_path / "logs" / "job.log").read_text()
    assert "threads 3 (OMP_NUM_THREADS" in text
    assert "'numpy': " in text
    assert "attention: 3 batches of 6 rows, " in text
    assert "mappings: 2 layers, " in text
    assert f"wrote {output}: 7 rows" in text
    summary = json.loads(text.splitlines()[-1].split(" summary ")[1])
    assert summary["rows"] == 8
    assert summary["unit"] == "rows"
    assert summary["device"] == "cpu"
    assert 0 < summary["row_seconds"] < 5


def test_a_failed_job_has_no_summary(fresh_job, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^1$"), fresh_job.job(described(tmp_path)):
        raise AtlasError("no such thing")
    assert capsys.readouterr().err == "Error in extract_x: no such thing\n"
    text = (tmp_path / "logs" / "job.log").read_text()
    assert "ERROR no such thing" in text
    assert "summary" not in text
