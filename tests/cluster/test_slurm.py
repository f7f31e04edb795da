"""A real Slurm runs the tiny configuration through its profile, jobs killed on the way, to the bytes of a local run.

Of a finished local run the results of one chain of every kind are deleted (sinks of one model with their tables and
figure, attention, answers) and made again by Slurm; with `--long` everything is, of both models and with the data.
"""

import os
import subprocess
import threading
import time
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import yaml

from atlas.analyses.published import read_table
from one_node_slurm import OneNode, why_not
from projects import copy_project, digests

REASON = why_not()
if not find_spec("snakemake_executor_plugin_slurm"):
    REASON = REASON or "Snakemake's plugin for Slurm is not installed: make environment-cluster"
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

LIMIT = 3000  # seconds, on a busy machine
# Each Slurm job starts two more Snakemakes. On a machine this small, jobs that start from the same files share one.
TOGETHER = [
    "download_model=data", "select_pairs=mappings", "extract_head_mappings=mappings", "extract_attention=extract",
    "extract_token_logprobs=extract", "extract_head_ablations=extract",
]  # fmt: skip
TOO_LITTLE_MB = 450  # extract_sinks takes about 700
GATHERED = [
    "results/activations/tiny/attention/questions.safetensors", "results/activations/tiny/answers/graph.parquet",
]  # fmt: skip
DELETED = [
    "figures/sink_rates.*", "results/tables/sink*", "results/tables/costs*",
    "results/metrics/tiny/sink*", "results/activations/tiny/sinks",
    "results/activations/tiny/attention*", "results/activations/tiny/answers*",
    "results/logs/extract_attention", "results/logs/extract_sinks", "results/logs/generate_answers",
]  # fmt: skip


@pytest.fixture(scope="module")
def slurm():
    with OneNode(cpus=4, memory_mb=12_000, gpus=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def submitted(request, finished, tmp_path_factory):
    """(project, targets, how many models' they are) of what Slurm makes."""
    folder = tmp_path_factory.mktemp("submitted")
    if request.config.getoption("--long"):
        return copy_project(folder), ["figures/all"], 2
    project = finished.copy(folder / "project")
    for pattern in DELETED:
        paths = list(project.folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            project.remove(path)
    return project, ["figures/sink_rates", "results/tables/sinks.parquet", *GATHERED], 1


@pytest.fixture(scope="module")
def run(slurm, submitted):
    """The targets through profiles/slurm: sinks with too little memory, answers with a GPU, one of them cancelled."""
    project, targets, models = submitted
    profile = yaml.safe_load((project.folder / "profiles" / "slurm" / "config.yaml").read_text())
    command = project.command(
        *targets, "--workflow-profile", "profiles/slurm", "--slurm-no-account",
        "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2",
        "--latency-wait", "10", "--groups", *profile["groups"], *TOGETHER,
        "--group-components", "data=20", "mappings=2", "extract=4",
        "--set-resources", f"extract_sinks:mem_mb=attempt * {TOO_LITTLE_MB}", "generate_answers:gpu=1",
    )  # fmt: skip
    cancelled, ended = [], threading.Event()
    watcher = threading.Thread(target=_cancel_one, args=(slurm, "generate_answers", cancelled, ended))
    watcher.start()
    try:
        process = subprocess.run(
            command, cwd=project.folder, env={**project.environment(), "OMP_NUM_THREADS": "7"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT,
        )  # fmt: skip
    finally:
        ended.set()
        watcher.join()
    assert process.returncode == 0, process.stdout[-6000:]
    return SimpleNamespace(
        project=project, output=process.stdout, jobs=slurm.jobs(), cancelled=cancelled, models=models
    )


def _cancel_one(slurm, rule, cancelled, ended):
    """Cancel the first running job of `rule` and note its number."""
    while not ended.wait(0.3) and not cancelled:
        for job in slurm.jobs():
            if f"rule_{rule}_" in job.get("Comment", "") and job["JobState"] == "RUNNING":
                slurm.call("scancel", job["JobId"])
                cancelled.append(job["JobId"])
                break


def of_rule(run, rule):
    return [job for job in run.jobs if f"rule_{rule}_" in job.get("Comment", "")]


def memory(job):
    """MB that a job asked for."""
    number, unit = float(job["MinMemoryNode"][:-1]), job["MinMemoryNode"][-1]
    return round(number * {"M": 1, "G": 1024}[unit])


def test_every_figure_and_table_has_the_bytes_of_a_local_run(run, finished):
    assert run.project.run("figures/all").returncode == 0  # what the targets left out, joined heads and costs among it
    for folder, pattern in (("figures", "*.*"), ("results/tables", "*.*"), ("results/metrics/tiny", "**/*.parquet")):
        here, there = (digests(project.folder / folder, pattern) for project in (finished, run.project))
        assert set(here) == set(there)
        assert len(here) > 20
        assert [name for name in here if here[name] != there[name] and not name.startswith("costs.")] == []
    for path in GATHERED:
        assert (run.project.folder / path).read_bytes() == (finished.folder / path).read_bytes()


def test_a_job_beyond_its_memory_comes_back_with_more(run):
    jobs = of_rule(run, "extract_sinks")
    first = [job for job in jobs if memory(job) == TOO_LITTLE_MB]
    assert [job["JobState"] == "COMPLETED" for job in first] == [False] * run.models
    for job in first:
        (log,) = (run.project.folder / ".snakemake" / "slurm_logs").rglob(f"{job['JobId']}.log")
        assert "exceeded memory limit" in log.read_text()
    done = [job for job in jobs if job["JobState"] == "COMPLETED"]
    assert len(done) == run.models
    assert all(memory(job) in (2 * TOO_LITTLE_MB, 3 * TOO_LITTLE_MB) for job in done)


def test_a_cancelled_job_runs_again(run):
    (number,) = run.cancelled
    jobs = of_rule(run, "generate_answers")
    (cancelled,) = [job for job in jobs if job["JobId"] == number]
    assert cancelled["JobState"] == "CANCELLED"
    again = [job for job in jobs if job["Comment"] == cancelled["Comment"] and job["JobId"] != number]
    assert [job["JobState"] for job in again] == ["COMPLETED"]
    assert memory(again[0]) == pytest.approx(2 * memory(cancelled), abs=1)


def test_gpus_are_asked_for_where_a_job_needs_them(run):
    asked = [job for job in run.jobs if "gres:gpu:1" in job.get("TresPerJob", "")]
    assert len(asked) == len(of_rule(run, "generate_answers")) >= 2  # one was cancelled
    assert all("generate_answers" in job["Comment"] for job in asked)


def test_jobs_ask_for_memory_time_and_cpus_by_the_formulas(run):
    for job in of_rule(run, "generate_answers")[:1]:
        assert 1200 < memory(job) < 1400
        assert job["TimeLimit"] == "00:11:00"
        assert job["NumCPUs"] == "1"
    assert all(int(job["NumCPUs"]) <= 2 for job in run.jobs)  # groups too


def test_threads_and_costs_are_those_of_each_job(run):
    logs = sorted((run.project.folder / "results" / "logs" / "extract_attention").rglob("*.log"))
    assert len(logs) == 2 * run.models  # shards
    assert all("threads 1 (OMP_NUM_THREADS 1)" in log.read_text() for log in logs)
    costs = read_table(run.project.folder / "results" / "tables" / "costs.parquet", "costs")
    assert {"download", "data", "extract", "metrics", "aggregate"} == set(costs["stage"])
    assert (costs["seconds"] > 0).all()


def test_nothing_is_left_to_do_and_the_daemons_end(run, slurm):
    assert run.project.planned() == {}
    pids = [daemon.pid for daemon in slurm.daemons]
    assert len(pids) == 3
    slurm.stop()
    time.sleep(0.2)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
