"""What the jobs took: sums over shards and parts, what is left over from earlier runs, logs of every kind, the plot."""

import json
import os

import pytest

from atlas.analyses.costs.metrics import gather
from atlas.analyses.costs.plot_costs import draw
from atlas.analyses.registry import TABLES
from atlas.results.tables import conform

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
MODELS, DATASETS = ["tiny", "other"], ["texts", "questions"]


@pytest.fixture
def run(tmp_path):
    """A function that writes one job's measurements: (name, seconds, memory, summary of its log, age in seconds)."""

    def job(name, seconds, memory, summary=None, age=0):
        path = tmp_path / "jobs" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t50\t{seconds / 2}\n")
        os.utime(path, (10**9 - age, 10**9 - age))
        log = tmp_path / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        ending = "" if summary is None else f"2026-01-01 INFO summary {json.dumps(summary)}\n"
        log.write_text(f"2026-01-01 INFO {name}\n{ending}")

    return job


def gathered(tmp_path):
    return conform(gather(tmp_path / "jobs", tmp_path / "logs", MODELS, DATASETS), TABLES["costs"])


def told(rows, seconds, mib=0, peak=0):
    told = {"rows": rows, "row_seconds": seconds, "unit": "rows", "device": "cpu", "device_mib": mib}
    return {**told, "peak_mib": peak}


def test_shards_add_up_and_memory_is_the_largest(run, tmp_path):
    run("extract_x/tiny/texts/1-of-2", 10, 500, told(30, 2.0, 7))
    run("extract_x/tiny/texts/2-of-2", 6, 700, told(10, 2.0, 9))
    (row,) = gathered(tmp_path).to_dict("records")
    assert row == {
        "stage": "extract", "rule": "extract_x", "model": "tiny", "dataset": "texts", "jobs": 2, "seconds": 16.0,
        "seconds_longest": 10.0, "cpu_seconds": 8.0, "memory_mib": 700.0, "rows": 40, "unit": "rows",
        "rows_per_second": 10.0, "device": "cpu", "device_mib": 9.0,
    }  # fmt: skip


def test_memory_is_at_least_what_the_job_itself_saw(run, tmp_path):
    run("extract_x/tiny/texts/1-of-1", 1, 20, told(1, 1.0, peak=483.5))
    assert gathered(tmp_path)["memory_mib"][0] == 483.5


def test_what_is_left_over_does_not_count(run, tmp_path):
    for shard in (1, 2, 3):
        run(f"extract_x/tiny/texts/{shard}-of-3", 100, 1, age=50)
    run("extract_x/tiny/texts/1-of-2", 10, 1)
    run("extract_x/tiny/texts/2-of-2", 10, 1)
    run("extract_x/gone/texts/1-of-2", 10, 1)
    run("prepare_dataset/gone", 10, 1)
    run("download_model/gone", 10, 1)
    frame = gathered(tmp_path)
    assert len(frame) == 1
    assert frame["seconds"][0] == 20


def test_jobs_with_and_without_model_and_data_set_in_the_order_of_the_data_flow(run, tmp_path):
    for name in ("aggregate_table/sinks", "compute_x/tiny/texts", "gather_shards/tiny/attention/texts"):
        run(name, 1, 1)
    for name in ("gather_shards/tiny/sinks/texts", "prepare_dataset/texts", "download_model/other"):
        run(name, 1, 1)
    run("download_package/wheel-1.0", 1, 1)
    frame = gathered(tmp_path)
    found = list(zip(frame["stage"], frame["rule"], frame["model"], frame["dataset"], frame["jobs"], strict=True))
    assert found == [
        ("download", "download_model", "other", "", 1),
        ("download", "download_package", "", "", 1),
        ("data", "prepare_dataset", "", "texts", 1),
        ("metrics", "compute_x", "tiny", "texts", 1),
        ("metrics", "gather_shards", "tiny", "texts", 2),
        ("aggregate", "aggregate_table", "", "", 1),
    ]


def test_a_job_too_short_to_measure_and_a_missing_log(run, tmp_path):
    run("compute_x/tiny/texts", 0.1, "-")
    (tmp_path / "logs" / "compute_x" / "tiny" / "texts.log").unlink()
    (row,) = gathered(tmp_path).to_dict("records")
    assert row["seconds"] == 0.1
    assert row["rows"] == 0
    assert row["unit"] == row["device"] == ""


def test_nothing_measured_is_an_empty_table(tmp_path):
    assert len(gathered(tmp_path)) == 0


def test_figure_shows_every_rule_once_and_says_what_it_is(run, tmp_path):
    run("extract_x/tiny/texts/1-of-1", 10, 500, told(30, 2.0))
    run("extract_x/other/texts/1-of-1", 20, 400, told(30, 2.0))
    run("compute_x/tiny/texts", 1, 100)
    run("prepare_dataset/texts", 1, 90)
    options = {"models": MODELS, "model_labels": {"tiny": "Tiny", "other": "$O$"}, "width": 7.0}
    figure, caption = draw({"costs": gathered(tmp_path)}, options, {})
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["prepare_dataset", "extract_x", "compute_x"]
    drawn = {line.get_label(): sorted(line.get_xdata()) for line in left.lines if line.get_marker() != "None"}
    assert drawn == {"Tiny": [1, 10], r"\$O\$": [20], "no model": [1]}
    assert max(max(line.get_xdata()) for line in right.lines if line.get_marker() != "None") == 500
    assert "n = 4 jobs" in caption
    assert "manifest" in caption


@pytest.mark.parametrize("measured", [[], ["extract_x/tiny/texts/1-of-1"]])
def test_figure_of_few_jobs_or_none(run, tmp_path, measured):
    for name in measured:
        run(name, 10, 500)
    options = {"models": MODELS, "model_labels": {"tiny": "Tiny", "other": "Other"}, "width": 7.0}
    figure, caption = draw({"costs": gathered(tmp_path)}, options, {})
    assert f"n = {len(measured)} jobs" in caption
    figure.savefig(tmp_path / "costs.png")
