"""Files stamped in the future are named, and those of ours get the present time."""

import os
import time

import pytest

from atlas.planning.stamps import cure, future_stamps

NOW = float(int(time.time())) + 3600  # what these tests take for the present: after all that they write
AHEAD = NOW + 3600


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("results/models/m/.snakemake_timestamp", "results/tables/t.csv", "figures/f.pdf", "tiny/q.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_nothing_is_said_where_clocks_agree_nearly(project, capsys):
    os.utime("results/tables/t.csv", (NOW, NOW + 50))
    cure(["results", "figures", "absent"], ["tiny"], NOW)
    assert capsys.readouterr().err == ""
    assert os.stat("results/tables/t.csv").st_mtime == NOW + 50


def test_results_get_the_present_time_and_sources_keep_theirs(project, capsys):
    stamped = ["results/models/m/.snakemake_timestamp", "results/models", "results/tables/t.csv", "tiny/q.jsonl"]
    for name in stamped:
        os.utime(name, (NOW, AHEAD))
    assert sorted(future_stamps(["results", "figures", "tiny"], NOW)) == sorted(stamped)
    cure(["results", "figures"], ["tiny"], NOW)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" is stamped in the future (")[0] for line in said] == sorted(stamped)
    assert "it is stamped with the present time, and what is made from it is made again at most once" in said[0]
    assert "of your own files the content decides" in said[-1]
    assert future_stamps(["results", "figures", "tiny"], NOW) == {"tiny/q.jsonl": AHEAD}
    cure(["results", "figures"], [], NOW)
    assert capsys.readouterr().err == ""


def test_a_dry_run_only_says(project, capsys):
    os.utime("results/tables/t.csv", (NOW, AHEAD))
    cure(["results"], ["tiny/q.jsonl"], NOW, dry_run=True)
    assert "the run will stamp it with the present time" in capsys.readouterr().err
    assert os.stat("results/tables/t.csv").st_mtime == AHEAD


def test_five_are_named_and_the_rest_counted(project, capsys):
    for number in range(12):
        path = project / "figures" / f"{number:02}.pdf"
        path.write_text("x")
        os.utime(path, (NOW, AHEAD))
    cure(["figures"], [], NOW)
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in said] == [*(f"figures/{number:02}.pdf" for number in range(5)), "7"]


def test_links_are_stamped_and_what_they_lead_to_is_not(project, capsys):
    own = project / "tiny" / "q.jsonl"
    os.link(own, "results/models/m/weights")
    os.symlink(own, "results/models/m/link")
    os.symlink(project, "results/models/m/round")
    os.utime(own, (NOW, AHEAD))
    os.utime("results/models/m/link", (NOW, AHEAD), follow_symlinks=False)
    cure(["results/models/m/link", "results/models/m/weights"], [], NOW)
    assert capsys.readouterr().err.count("stamped in the future") == 1
    assert own.stat().st_mtime == AHEAD
    assert os.lstat("results/models/m/link").st_mtime == pytest.approx(NOW)
    assert sum(path.endswith("q.jsonl") for path in future_stamps(["results"], NOW)) == 1  # the loop ends


def test_many_files_are_looked_at_quickly(project):
    for number in range(5000):
        (project / "results" / f"{number}").touch()
    started = time.process_time()  # of this process: others may run beside it
    assert future_stamps(["results"], NOW + 100) == {}
    assert time.process_time() - started < 2
