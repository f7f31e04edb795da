"""Lines of a run under a clock of the test: counts, names, and the time that is left at the pace so far."""

import pytest

from atlas.planning.estimates import Job, Size
from atlas.planning.forecast import LIGHT_S, Forecast, Known
from atlas.planning.progress import NOMINAL_FLOPS, PRIOR_S, QUIET_S, Progress

SIZE = Size(1_000_000_000, 16, 512, 64, 512, 2048, 32_000, file_bytes=2)
SINKS = {"inputs": ["natural"], "sequences": 100, "length": 50, "batch_tokens": 4096}
JOB = Job(SIZE, SINKS)
SHARDS = [{"model": "m", "dataset": "d", "shard": str(shard), "shards": "2"} for shard in (1, 2)]
PLAN = [*(("extract_sinks", wildcards, 0.0) for wildcards in SHARDS), ("plot_sinks", {"figure": "mine"}, 0.0)]
PLANNED_S = Forecast(lambda dtype, device: NOMINAL_FLOPS, Known()).seconds("extract_sinks", JOB, 2)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def run(clock, cores=1):
    return Progress(Known(jobs={"extract_sinks": lambda _: JOB}, cores=cores, plan=PLAN), clock)


def test_before_anything_has_finished_the_plan_counts(clock):
    assert run(clock).left_s() == pytest.approx(2 * PLANNED_S + LIGHT_S)
    assert run(clock, cores=2).left_s() == pytest.approx((2 * PLANNED_S + LIGHT_S) / 2)
    assert run(clock, cores=8).left_s() == pytest.approx(PLANNED_S)  # no sooner than the longest job


def test_finished_jobs_give_the_pace_of_their_kind(clock):
    progress = run(clock)
    progress.starts(7, "extract_sinks", SHARDS[0])
    clock.now += 600
    line = progress.ends(7)
    pace = (600 + PRIOR_S) / (PLANNED_S + PRIOR_S)
    assert progress.left_s() == pytest.approx(pace * PLANNED_S + LIGHT_S)  # nothing is known of jobs without a model
    assert line == f"[1/3] extract_sinks m d 1 of 2  10 min  about {progress.left_s() / 60:.0f} min left"


def test_jobs_on_gpus_take_turns_whatever_the_cores(clock):
    on_gpu = Job(SIZE, SINKS, gpu=True)
    progress = Progress(Known(jobs={"extract_sinks": lambda _: on_gpu}, cores=16, plan=PLAN), clock)
    planned = Forecast(lambda dtype, device: NOMINAL_FLOPS, Known()).seconds("extract_sinks", on_gpu, 2)
    assert progress.left_s() == pytest.approx(2 * planned)


def test_a_job_that_runs_is_left_with_what_it_has_not_run_yet(clock):
    progress = run(clock)
    progress.starts(1, "plot_sinks", {"figure": "mine"})
    clock.now += 1
    assert progress.left_s() == pytest.approx(2 * PLANNED_S + LIGHT_S - 1)
    clock.now += 3600
    assert progress.left_s() == pytest.approx(2 * PLANNED_S)


def test_what_runs_is_said_when_nothing_was_said_for_long(clock):
    progress = run(clock, cores=2)
    clock.now += 2 * QUIET_S
    assert progress.quiet() is None  # nothing runs
    for number, wildcards in enumerate(SHARDS):
        progress.starts(number, "extract_sinks", wildcards)
    clock.now += QUIET_S
    line = progress.quiet()
    assert line.startswith("[0/3] running: extract_sinks m d 1 of 2 (30 s), extract_sinks m d 2 of 2 (30 s)  about ")
    clock.now += QUIET_S - 1
    assert progress.quiet() is None
    clock.now += 1
    assert "(60 s)" in progress.quiet()


def test_a_job_that_fails_and_runs_again_counts_once(clock):
    progress = run(clock)
    progress.starts(1, "plot_sinks", {"figure": "mine"})
    progress.stops(1)
    assert (progress.done, progress.ends(1)) == (0, None)
    progress.starts(1, "plot_sinks", {"figure": "mine"})
    clock.now += 2
    assert progress.ends(1).startswith("[1/3] plot_sinks mine  2 s  about ")


def test_the_last_line_tells_no_time_that_is_left(clock):
    progress = run(clock)
    for number, (rule, wildcards, _) in enumerate(PLAN):
        progress.starts(number, rule, wildcards)
        clock.now += 100 * 60
        line = progress.ends(number)
    assert line == "[3/3] plot_sinks mine  1 h 40 min"
