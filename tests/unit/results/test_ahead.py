"""Results made for other jobs: keys that name everything, and claims of real processes."""

import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.results import ahead
from atlas.results.ahead import TBD, Plan, Planned, claimed, kept, plain, read_plan, take, write_plan
from atlas.results.files import read_arrays, write_arrays
from places import ROOT

CLAIM = """
import logging, sys
from atlas.results.ahead import claimed
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
with claimed(sys.argv[1], wait=True):
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def job(tmp_path):
    """A job with a model, a file and a folder as inputs."""
    for name, text in (("model/provenance.json", "{}"), ("data.parquet", "rows"), ("shown/one.txt", "1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Planned(
        stage="extract_sinks",
        wildcards={"model": "m", "shard": "2", "shards": "3"},
        inputs={
            "model": str(tmp_path / "model"),
            "data": str(tmp_path / "data.parquet"),
            "more": [str(tmp_path / "shown")],
        },
        params={"options": {"length": 16}, "runtime": {"dtype": "auto"}},
        listed=["atlas/one.py 0123", {"length": 16}],
        output=str(tmp_path / "results" / "2-of-3.safetensors"),
        resources={"gpu": 1},
    )  # fmt: skip


def test_a_key_names_all_that_a_result_depends_on(job, tmp_path, monkeypatch):
    keys = {job.key()}
    assert job.key() == replace(job, resources={}).key() == ahead.Planned(**vars(job)).key()
    for change in (
        {"stage": "extract_attention"},
        {"wildcards": {**job.wildcards, "shard": "1"}},
        {"params": {**job.params, "options": {"length": 17}}},
        {"listed": ["atlas/one.py 4567", {"length": 16}]},
        {"output": job.output.replace("2-of", "1-of")},
        {"inputs": {**job.inputs, "data": job.inputs["model"]}},
    ):
        keys.add(replace(job, **change).key())
    for name in ("model/provenance.json", "data.parquet", "shown/one.txt"):
        (tmp_path / name).write_text("changed")
        keys.add(job.key())
    (tmp_path / "shown" / "one.txt").rename(tmp_path / "shown" / "two.txt")
    keys.add(job.key())
    monkeypatch.setattr(ahead, "package_versions", lambda *names: dict.fromkeys(names, "0"))
    keys.add(job.key())
    monkeypatch.setattr(ahead, "listed_gpus", lambda: ("GPU 0: Some Card (UUID: GPU-1)",))
    keys.add(job.key())
    assert len(keys) == 13


def test_the_cards_of_a_machine_count_and_not_their_numbers(job, monkeypatch):
    cards = ("GPU 0: Some Card (UUID: GPU-1)", "GPU 1: Another (UUID: GPU-2)")
    monkeypatch.setattr(ahead, "listed_gpus", lambda: cards)
    key = job.key()
    monkeypatch.setattr(ahead, "listed_gpus", lambda: tuple(line.replace("GPU-", "GPU-9") for line in cards))
    assert job.key() == key


def test_a_missing_input_has_no_key(job, tmp_path):
    (tmp_path / "data.parquet").unlink()
    assert job.key() is None


def test_what_was_not_known_is_as_another_job_of_the_rule_has_it(job):
    early = replace(job, params={"options": TBD, "runtime": {"dtype": TBD}}, listed=[job.listed[0], TBD])
    assert early.filled(job) == job


def test_a_plan_is_read_as_it_was_written(job, tmp_path, monkeypatch):
    monkeypatch.delenv(ahead.PLAN, raising=False)
    assert read_plan() is None
    plan = Plan([job], 1, 2)
    write_plan(tmp_path / "plan.json", plan)
    monkeypatch.setenv(ahead.PLAN, str(tmp_path / "plan.json"))
    assert read_plan() == plan
    assert read_plan().of(job.output).key() == job.key()
    assert plan.of("another") is None


def test_only_this_runs_results_are_finished(job, tmp_path):
    plan = Plan([job], 0, 0)
    assert not plan.finished(job)
    write_arrays(job.output, {"a": np.arange(3)}, {})
    assert plan.finished(job)
    assert not replace(plan, began_ns=(tmp_path / "results" / "2-of-3.safetensors").stat().st_mtime_ns + 1).finished(
        job
    )


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {2}}, object()])
def test_what_json_would_change_is_no_param_of_a_plan(value):
    with pytest.raises(TypeError):
        plain({"params": value})


def test_a_result_is_taken_once_and_under_its_own_key_alone(job):
    write_arrays(kept(job.output, job.key()), {"a": np.arange(3)}, {})
    write_arrays(kept(job.output, 32 * "0"), {"a": np.arange(4)}, {})
    other = job.output.replace("2-of", "12-of")
    write_arrays(kept(other, 32 * "0"), {"a": np.arange(5)}, {})
    assert take(job.output, job.key())
    assert list(read_arrays(job.output)[0]["a"]) == [0, 1, 2]
    assert [path.name for path in kept(job.output, "").parent.iterdir()] == [kept(other, 32 * "0").name]
    assert not take(job.output, job.key())
    write_arrays(kept(job.output, 32 * "0"), {"a": np.arange(4)}, {})
    assert not take(job.output, job.key())
    assert not kept(job.output, 32 * "0").exists()


def test_a_damaged_result_is_not_taken(job, caplog):
    path = kept(job.output, job.key())
    write_arrays(path, {"a": np.arange(3)}, {})
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert not take(job.output, job.key())
    assert not path.exists()
    assert "is damaged" in caplog.text


@pytest.fixture
def start():
    """A function that starts a process which claims a job's result, and ends when its input does."""
    processes = []

    def begin(output):
        pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
        command = [sys.executable, "-c", CLAIM, output]
        processes.append(subprocess.Popen(command, cwd=ROOT / "scripts", text=True, **pipes))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("end", ["input", "kill -9"])
def test_one_job_works_on_a_result_at_a_time(job, start, end):
    first, second = start(job.output), None
    assert first.stdout.readline() == "mine\n"
    with claimed(job.output, wait=False) as free:
        assert not free
    with claimed(job.output.replace("2-of", "1-of"), wait=False) as free:
        assert free
    second = start(job.output)
    assert second.stdout.readline().startswith("waiting for a job")
    if end == "input":
        first.communicate("")
    else:
        first.send_signal(signal.SIGKILL)
    assert second.stdout.readline() == "mine\n"
    with claimed(job.output, wait=False) as free:  # the file of the first one's lock is gone, and so is that lock
        assert not free
    second.communicate("")
    with claimed(job.output, wait=False) as free:
        assert free
    assert not kept(job.output, "").parent.exists()


def test_many_jobs_take_turns(job, start):
    jobs = [start(job.output) for _ in range(6)]
    for process in jobs:
        process.stdin.close()
    assert [process.stdout.read().splitlines()[-1] for process in jobs] == ["mine"] * 6
    assert [process.wait(60) for process in jobs] == [0] * 6
    assert not kept(job.output, "").parent.exists()


def test_a_folder_that_cannot_be_locked_is_named(job, tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(AtlasError, match="set one_load: false"), claimed(job.output, wait=True):
        pass
