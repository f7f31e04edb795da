"""Killed jobs and runs, interrupts, a full disk, two runs at once: what is left behind, and that the next run works.

Jobs are stopped right before they put a result in place (pausing/sitecustomize.py), the worst moment for a fault.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from chart import CHAIN, FIGURE, KEEP, SHARD, TABLE, TARGETS, forget, results
from projects import paused, wait_for


def half_files(project):
    found = [*project.folder.glob("results/**/.*"), *project.folder.glob("figures/**/.*")]
    return [path for path in found if path.name != ".snakemake_timestamp"]


def test_killed_job_and_killed_run_at_every_stage(charted, chart):
    """At each stage its job is killed, then all of Snakemake: nothing half, nothing stale, the same results."""
    forget(chart, "download")
    for stage, made in CHAIN.items():
        goal = TABLE if stage == "aggregate" else FIGURE
        with paused(chart, made + "$", goal) as (process, job):
            os.kill(job, signal.SIGKILL)
            assert process.wait(600) != 0, stage
        assert "Error in rule" in chart.said()
        assert not (chart.folder / made).exists()
        assert not (chart.folder / FIGURE).exists()
        with paused(chart, made + "$", goal) as (process, _):
            os.killpg(process.pid, signal.SIGKILL)
        assert not (chart.folder / made).exists()
        if stage == "extract":
            assert "--unlock" in chart.run(goal).stdout
        assert chart.run("--unlock").returncode == 0
    process = chart.run(*TARGETS)
    assert process.returncode == 0, process.stdout
    assert results(chart) == results(charted)
    assert half_files(chart) == []
    assert chart.planned(*TARGETS) == {}


def test_finished_shard_is_not_repeated(charted, chart):
    forget(chart, "extract")
    goal = CHAIN["gather"]
    with paused(chart, r"-of-2\.safetensors$", "--cores", "1", goal, skip=1) as (process, _):
        os.killpg(process.pid, signal.SIGKILL)
    done = [path for n in (1, 2) if (path := chart.folder / SHARD.format(n)).exists()]
    assert len(done) == 1
    time = done[0].stat().st_mtime_ns
    chart.run("--unlock")
    assert chart.planned(goal) == {"extract_sinks": 1, "gather_shards": 1}
    assert chart.run(*TARGETS).returncode == 0
    assert done[0].stat().st_mtime_ns == time
    assert results(chart) == results(charted)


def test_interrupt_ends_cleanly(charted, chart):
    """Ctrl-C: no lock, no half file, and the next run goes on."""
    forget(chart, "extract")
    with paused(chart, CHAIN["extract"], *TARGETS) as (process, job):
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) != 0
        wait_for(lambda: not Path(f"/proc/{job}").exists())
    assert half_files(chart) == []
    assert not (chart.folder / FIGURE).exists()
    assert "Traceback" not in chart.said()
    process = chart.run(*TARGETS)  # without --unlock
    assert process.returncode == 0, process.stdout
    assert results(chart) == results(charted)


def test_two_runs_on_one_folder(charted, chart):
    """The second is told who holds the folder, and neither is harmed; other files can be made meanwhile."""
    forget(chart, "extract")
    with paused(chart, CHAIN["extract"], *TARGETS) as (first, _):
        second = chart.run(*TARGETS)
        assert second.returncode != 0
        assert "LockException" in second.stdout
        assert "unlock" in second.stdout
        other = chart.run("results/datasets/questions.parquet")
        assert other.returncode == 0, other.stdout
        (chart.folder / "paused").unlink()
        assert first.wait(120) == 0
    assert results(charted).items() <= results(chart).items()  # and the rows of the other run


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of so many bytes mounted on `folder`; yields a function that gives it another size."""
    folder.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mount.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mount.stderr.decode().strip()}")
    (folder / KEEP).touch()  # Snakemake removes folders that are empty after a failure, and cannot remove this one
    try:
        yield lambda more: subprocess.run(["mount", "-o", f"remount,size={more}", folder], check=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


# stage -> folder that is on the small disk
DISKS = {
    "download": "results/models",
    "extract": "results/activations/tiny/sinks/passages",
    "metrics": "results/metrics/tiny/sinks",
    "aggregate": "results/tables",
    "plot": "figures",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_full_disk_is_said_at_every_stage_and_loses_nothing(charted, chart):
    forget(chart, "download")
    with contextlib.ExitStack() as disks:
        resize = {}
        for stage, name in DISKS.items():
            chart.remove(name)
            resize[stage] = disks.enter_context(small_disk(chart.folder / name, 4096))
        for stage, name in DISKS.items():
            process = chart.run(*TARGETS)
            assert process.returncode != 0, stage
            assert "the disk is full while writing" in process.stdout
            assert "Traceback" not in process.stdout
            left = {path.name for path in (chart.folder / name).rglob("*") if path.is_file()}
            assert left <= {KEEP, ".snakemake_timestamp"}, stage
            resize[stage]("64m")
        process = chart.run(*TARGETS)
        assert process.returncode == 0, process.stdout
        assert results(chart) == results(charted)
