"""Jobs of one machine share its GPUs: real processes, a driver's program that lists GPUs, locks of the kernel."""

import os
import signal
import subprocess
import sys
import time

import pytest

from atlas.errors import AtlasError
from atlas.models.devices import choose_device, driver_lines, visible_gpus
from atlas.models.gpu_locks import take_gpus
from places import ROOT

# A job: takes its GPUs, says which, and ends when its input does.
JOB = """
import logging, os, sys
logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
from atlas.errors import AtlasError
from atlas.models.gpu_locks import take_gpus
try:
    take_gpus(int(sys.argv[1]))
except AtlasError as error:
    sys.exit(str(error))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "not set"), flush=True)
sys.stdin.read()
"""
UUIDS = [f"GPU-{letter * 8}" for letter in "abcd"]


@pytest.fixture
def machine(tmp_path):
    """A function that starts a job which asks for `number` GPUs on a machine with `gpus` of them."""
    processes = []

    def start(number, gpus=4, visible=None, **more):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        lines = "".join(f"GPU {i}: Some Card (UUID: {uuid})\\n" for i, uuid in enumerate(UUIDS[:gpus]))
        program.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
        program.chmod(0o755)
        environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": "scripts",
                       "ATLAS_GPU_LOCKS": str(tmp_path / "locks"), **more}  # fmt: skip
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        environment |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        job = subprocess.Popen([sys.executable, "-c", JOB, str(number)], cwd=ROOT, env=environment, text=True, **pipes)
        processes.append(job)
        return job

    yield start
    for job in processes:
        job.kill()
        job.communicate()


def taken(job):
    """The GPUs that a job says it has."""
    line = job.stdout.readline().strip()
    return line.split(",") if line else line


def end(job):
    _, said = job.communicate("")
    assert job.returncode == 0, said
    return said


def waits(job):
    """Until the job has said that it waits."""
    line = job.stderr.readline()
    assert "waiting for" in line
    return line


def test_jobs_side_by_side_have_each_a_gpu_of_its_own(machine):
    jobs = [machine(1) for _ in range(4)]
    found = [taken(job) for job in jobs]
    assert sorted(found) == [[uuid] for uuid in UUIDS]
    assert all(f"GPUs of this job: {name}" in end(job) for job, [name] in zip(jobs, found, strict=True))


def test_a_job_that_asks_for_two_gets_two_and_leaves_the_others(machine):
    first, second = machine(2), machine(2)
    found = taken(first) + taken(second)
    assert sorted(found) == UUIDS


def test_more_jobs_than_gpus_wait_and_all_of_them_end(machine):
    """Also those that need all GPUs, between jobs that need one: nobody holds one GPU and waits for another."""
    jobs = [machine(number, gpus=2) for number in (1, 2, 1, 2, 1, 2)]
    running, done, most = list(jobs), 0, 0
    deadline = time.monotonic() + 120
    for job in jobs:
        os.set_blocking(job.stdout.fileno(), False)
    having = {}
    while running:
        assert time.monotonic() < deadline, "jobs wait for each other"
        for job in list(running):
            if job not in having and (found := taken(job)):
                having[job] = found
                used = [name for names in having.values() for name in names]
                assert len(used) == len(set(used)) <= 2
                most = max(most, len(used))
        for job in list(having):
            end(job)
            del having[job]
            running.remove(job)
            done += 1
        time.sleep(0.05)
    assert done == 6
    assert most == 2


def test_a_killed_jobs_gpu_is_free_again(machine):
    first = machine(2, gpus=2)
    assert taken(first) == UUIDS[:2]
    second = machine(1, gpus=2)
    assert "waiting for 1 of the GPUs" in waits(second)
    first.send_signal(signal.SIGKILL)
    assert taken(second) == UUIDS[:1]


def test_a_killed_job_that_waited_leaves_no_lock(machine):
    first = machine(1, gpus=1)
    taken(first)
    second = machine(1, gpus=1)
    waits(second)
    third = machine(1, gpus=1)
    second.send_signal(signal.SIGKILL)
    waits(third)  # it is its turn now
    end(first)
    assert taken(third) == UUIDS[:1]


@pytest.mark.parametrize("visible", ["2,3", f"{UUIDS[2]},{UUIDS[3]}", "GPU-c,3", "2,3,-1,0", "2,3,9,0"])
def test_the_users_choice_is_kept_as_it_is_written(machine, visible):
    jobs = [machine(1, visible=visible) for _ in range(2)]
    assert sorted(name for job in jobs for name in taken(job)) == sorted(visible.split(",")[:2])


def test_one_gpu_under_two_names_is_one(machine):
    first = machine(1, visible="1")
    assert taken(first) == ["1"]
    second = machine(1, visible=UUIDS[1])
    waits(second)
    end(first)
    assert taken(second) == [UUIDS[1]]


def test_a_scheduler_has_chosen(machine):
    jobs = [machine(1, visible="0", ATLAS_GPUS_GIVEN="1") for _ in range(2)]
    assert [taken(job) for job in jobs] == [["0"], ["0"]]
    assert "GPUs are those of the scheduler: CUDA_VISIBLE_DEVICES is 0" in end(jobs[0])


def test_a_job_that_asks_for_none_sees_none(machine):
    job = machine(0)
    assert taken(job) == ""
    assert "none, as it asked for none" in end(job)


def test_more_gpus_than_there_are_is_a_sentence(machine):
    _, said = machine(3, gpus=2).communicate("")
    assert "asks for 3 GPUs, but 2 can be used here" in said
    assert "--resources gpu=2" in said


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_stay_hidden(machine, hidden):
    assert taken(machine(1, visible=hidden)) == (["-1"] if hidden else "")


def test_without_a_drivers_program_numbers_stand_for_themselves(machine):
    jobs = [machine(1, gpus=0, visible="0,1") for _ in range(2)]
    assert sorted(name for job in jobs for name in taken(job)) == ["0", "1"]
    unknown = machine(1, gpus=0)
    assert taken(unknown) == ["not set"]
    assert "set CUDA_VISIBLE_DEVICES for the run" in end(unknown)


def test_a_folder_that_cannot_be_used_is_named(machine, tmp_path):
    (tmp_path / "file").touch()
    _, said = machine(1, ATLAS_GPU_LOCKS=str(tmp_path / "file" / "locks")).communicate("")
    assert "set ATLAS_GPU_LOCKS" in said


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A driver that lists a whole GPU and one that is cut into two parts."""
    text = (
        "GPU 0: Some Card (UUID: GPU-1)\nGPU 1: Some Card (UUID: GPU-2)\n"
        "  MIG 1g.5gb     Device  0: (UUID: MIG-3)\n  MIG 1g.5gb     Device  1: (UUID: MIG-4)"
    )
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver_lines.cache_clear()
    yield
    driver_lines.cache_clear()


def test_parts_of_a_gpu_are_taken_one_by_one(parts):
    assert [gpu.name for gpu in visible_gpus()] == ["GPU-1", "MIG-3", "MIG-4"]


def test_a_gpu_that_was_taken_is_still_not_left_out_in_silence(parts, tmp_path, monkeypatch):
    """torch here cannot use it: the job is refused, as before it took one."""
    monkeypatch.setenv("ATLAS_GPU_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("ATLAS_GPUS_GIVEN", raising=False)
    take_gpus(1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    with pytest.raises(AtlasError, match=r"torch cannot use"):
        choose_device("auto")
