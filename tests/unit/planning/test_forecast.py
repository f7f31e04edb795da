"""What a plan will take: seconds by hand, sums, and what is said of sizes that are not known."""

import pytest

from atlas.planning.estimates import Job, Size
from atlas.planning.forecast import DISK_MB, DOWNLOADS, LIGHT_S, OTHER, START_S, TAKES, Forecast, Known
from atlas.planning.resources import STAGES
from atlas.planning.speed import rate_of

SIZE = Size(1_000_000_000, 16, 512, 64, 512, 2048, 32_000, file_bytes=2)
SINKS = {"inputs": ["natural"], "sequences": 100, "length": 50, "batch_tokens": 4096}
RATES = {("float32", "cpu"): 1e11, ("bfloat16", "cuda"): 1e13}


def job(**options):
    return Job(SIZE, SINKS, **options)


def forecast(plan, made, known=True, cores=4):
    return Forecast(
        lambda dtype, device: RATES[dtype, device],
        Known(jobs={"extract_sinks": lambda _: made}, size=lambda _: (SIZE, known), cores=cores, plan=plan),
    )


def extract(shards=1):
    return ("extract_sinks", {"model": "m", "dataset": "d", "shards": str(shards)}, 3000.0)


# two operations for each parameter and token
WORK_S = TAKES["extract_sinks"] * 2 * 1e9 * 100 * 50 / 1e11
START = START_S + 2e9 / 1e6 / DISK_MB


def test_seconds_are_those_of_the_operations_at_the_measured_rate():
    found = forecast([extract()], job(threads=1)).parts["sinks"]
    assert found.core_s == found.longest_s == pytest.approx(START + WORK_S)
    assert (found.jobs, found.memory_mb, found.gpus, found.gpu_s) == (1, 3000.0, 0, 0)


def test_threads_shorten_a_job_and_take_as_many_cores():
    found = forecast([extract()], job(threads=2)).parts["sinks"]
    assert found.longest_s == pytest.approx(START + WORK_S / 2)
    assert found.core_s == pytest.approx(2 * found.longest_s)


def test_shards_share_the_work_and_each_starts():
    found = forecast([extract(4)] * 4, job()).parts["sinks"]
    assert found.core_s == pytest.approx(4 * START + WORK_S)
    assert found.longest_s == pytest.approx(START + WORK_S / 4)


def test_a_gpu_is_counted_by_itself():
    made = forecast([extract()], job(gpu=True))
    found = made.parts["sinks"]
    assert (found.core_s, found.gpus) == (0, 1)
    assert found.gpu_s == pytest.approx(START + WORK_S * 1e11 / 1e13)
    assert "minutes of one GPU" in "\n".join(made.lines())


def test_what_runs_no_model_is_told_apart_and_cores_share_it():
    plan = [("download_model", {"model": "m"}, 0.0), *[("plot", {"figure": "f"}, 1500.0)] * 80]
    made = forecast(plan, job(), cores=4)
    assert (made.parts[DOWNLOADS].jobs, made.parts[OTHER].jobs) == (1, 80)
    text = "\n".join(made.lines())
    assert f"About {81 * LIGHT_S / 4 / 60:.0f} minutes on 4 cores." in text
    assert "Models to bring in or to make: m; about 2.0 GB of disk." in text


def test_a_run_is_no_shorter_than_its_longest_job():
    made = forecast([extract()], job(), cores=64)
    assert f"About {(START + WORK_S) / 60:.0f} minutes on 64 cores." in "\n".join(made.lines())


def test_a_size_that_is_not_known_is_said_once():
    text = "\n".join(forecast([extract(2)] * 2, job(), known=False).lines())
    assert text.count("The size of m is not known before its download: counted as 1.0 billion parameters.") == 1
    assert "not known" not in "\n".join(forecast([extract()], job()).lines())


def test_nothing_to_do_is_said():
    assert forecast([], job()).lines() == ["Nothing is left to be done."]


def test_the_rate_is_one_of_a_core_and_leaves_the_threads_alone():
    import torch

    threads = torch.get_num_threads()
    assert rate_of("float32", "cpu") > 1e8
    assert torch.get_num_threads() == threads


def test_what_stages_take_of_their_operations_is_of_stages_that_there_are():
    assert TAKES.keys() <= STAGES.keys()
    assert all(0.1 <= share <= 10 for share in TAKES.values())
