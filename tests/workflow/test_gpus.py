"""Which GPUs the jobs of a real run take: those that they asked for, or those that a scheduler gave them."""

import re

import pytest

from atlas.planning.batches import for_gpus
from atlas.planning.estimates import Job, Size
from atlas.results.files import read_provenance

TARGET = "results/activations/tiny/attention/questions.safetensors"  # two shards
# Submits a script as a scheduler would: in the background, with GPUs of its own choice, saying a number.
SUBMIT = 'CUDA_VISIBLE_DEVICES=5,6 nohup sh "$0" >>scheduler.log 2>&1 & echo $!'


@pytest.fixture
def machine(fresh, tmp_path, monkeypatch):
    """A project on a machine of two GPUs that no driver lists: its jobs run on the CPU and lock them all the same."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("ATLAS_GPU_LOCKS", str(tmp_path / "locks"))
    return fresh


def shards(project):
    """{shard: what the log says of its GPUs}."""
    logs = sorted((project.folder / "results/logs/extract_attention/tiny/questions").glob("*.log"))
    return {log.stem: re.findall(r"INFO (GPUs .*)", log.read_text()) for log in logs}


def test_each_job_of_one_machine_takes_what_it_asked_for(machine, tmp_path):
    process = machine.run(TARGET, "--resources", "gpu=2")
    assert process.returncode == 0, process.stdout
    assert process.stdout.count("gpu=1") >= 2
    found = shards(machine)
    assert set(found) == {"1-of-2", "2-of-2"}
    assert all(said in (["GPUs of this job: 0"], ["GPUs of this job: 1"]) for said in found.values())
    assert {file.name for file in (tmp_path / "locks").iterdir()} >= {"0"}


def test_jobs_of_a_scheduler_use_what_it_gave_them(machine, tmp_path):
    command = f"sh -c '{SUBMIT}'"
    profile = "--workflow-profile", "profiles/generic", "--cluster-generic-submit-cmd", command, "--latency-wait", "5"
    process = machine.run(TARGET, *profile, "--jobs", "4", "--set-resources", "extract_attention:gpu=1")
    assert process.returncode == 0, process.stdout
    assert shards(machine) == {
        name: ["GPUs are those of the scheduler: CUDA_VISIBLE_DEVICES is 5,6"] for name in ("1-of-2", "2-of-2")
    }
    assert not (tmp_path / "locks").exists()


def test_auto_is_settled_in_the_plan_by_the_configuration_alone(fresh, monkeypatch):
    """On a CPU the number of before; for cards what they have room for, on a machine that has none or others."""
    target = "results/activations/tiny/sinks/passages/1-of-1.safetensors"
    fresh.configure(lambda config: config["analyses"]["sinks"].pop("batch_tokens"))
    process = fresh.run(target)
    assert process.returncode == 0, process.stdout
    assert read_provenance(fresh.folder / target)["options"]["batch_tokens"] == 4096
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # device: auto is planned on a GPU here, and no number follows it
    assert fresh.planned(target) == {}
    inputs = {"batch_tokens": 4096, "inputs": ["natural", "random", "repeated"], "length": 16, "sequences": 12}
    found = []
    for card in (0.7, 80):
        fresh.configure(lambda config, card=card: config["models"]["tiny"].update(device="cuda", gpu_memory_gb=card))
        expected = for_gpus("extract_sinks", Job(Size.guess(100_000), inputs, gpu=True, gpu_memory_gb=card))
        said = {}
        for visible in ("0,1", ""):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
            said[visible] = re.findall(r"'batch_tokens': (\d+)", fresh.run("-n", target).stdout)
        assert said["0,1"] == said[""]
        assert {int(number) for number in said[""]} == {4096, expected} - ({4096} & {expected})
        found.append(expected)
    assert found[0] < found[1]
    # Without a hint the size is that of the model's files, for which the plan waits.
    fresh.configure(lambda config: config["models"]["tiny"].update(parameters=None, gpu_memory_gb=0.7))
    assert f"'batch_tokens': {found[0]}" in fresh.run("-n", target).stdout
    fresh.remove("results/models/tiny")
    process = fresh.run("-n", target)
    assert process.returncode == 0, process.stdout
    assert "<TBD>" in process.stdout
    assert fresh.planned(target) == {"download_model": 1, "extract_sinks": 1}
