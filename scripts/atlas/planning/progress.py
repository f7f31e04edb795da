"""Where a run stands: which jobs are done, what runs, and how long the rest will take.

Jobs are weighed by what planning knows of them (planning/forecast.py), against the seconds that finished ones of their
kind (on a GPU, with a model, without one) took here, so that no speed of the machine has to be measured first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from atlas.planning.forecast import LIGHT_S, Forecast, Known
from atlas.planning.resources import gpus

# Per second, until jobs have finished: under it planned seconds of the default run (forecast.TAKES) are about those of
# the processor that it took.
NOMINAL_FLOPS = 2e11
PRIOR_S = 20.0  # planned seconds that the nominal speed counts as much as
KINDS = MODEL, GPU, LIGHT = "with a model", "on a GPU", "without a model"
QUIET_S = 30.0  # without a finished job, until what runs is said


@dataclass
class _Running:
    name: str
    planned_s: float
    kind: str
    started: float


@dataclass
class Progress:
    """Jobs of one run. clock: seconds, for tests."""

    known: Known
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _waiting: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, str]] = field(default_factory=dict)
    _running: dict[int, _Running] = field(default_factory=dict)
    # of finished jobs of each kind
    _planned_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, PRIOR_S))
    _took_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, PRIOR_S))
    _said: float = 0.0

    def __post_init__(self) -> None:
        # One core's or GPU's: which of the two hardly matters for what is left of the same kinds of jobs.
        forecast = Forecast(lambda dtype, device: NOMINAL_FLOPS, Known())
        for rule, wildcards, _ in self.known.plan:
            self._waiting[_key(rule, wildcards)] = self._planned(forecast, rule, wildcards)
        self.total = len(self.known.plan)
        self._said = self.clock()

    def _planned(self, forecast: Forecast, rule: str, wildcards: Mapping[str, str]) -> tuple[float, str]:
        if rule not in self.known.jobs:
            return LIGHT_S, LIGHT
        job = self.known.jobs[rule](wildcards)
        return forecast.seconds(rule, job, int(wildcards.get("shards", 1))), GPU if gpus(rule, job) else MODEL

    def starts(self, number: int, rule: str, wildcards: Mapping[str, str]) -> None:
        """A job of this number begins, also one that failed before."""
        planned, kind = self._waiting.pop(_key(rule, wildcards), (LIGHT_S, LIGHT))
        self._running[number] = _Running(" ".join([rule, *_told(wildcards)]), planned, kind, self.clock())

    def ends(self, number: int) -> str | None:
        """The line that says so; None for a job that never began."""
        job = self._running.pop(number, None)
        if job is None:
            return None
        took = self.clock() - job.started
        self.done += 1
        self._planned_s[job.kind] += job.planned_s
        self._took_s[job.kind] += took
        return self._line(f"{job.name}  {_duration(took)}", left=True)

    def stops(self, number: int) -> None:
        """A job has failed."""
        self._running.pop(number, None)

    def waiting(self) -> list[tuple[str, dict[str, str]]]:
        """Rule and wildcards of every job that has not begun."""
        return [(rule, dict(wildcards)) for rule, wildcards in self._waiting]

    def quiet(self) -> str | None:
        """What runs, where nothing was said for QUIET_S."""
        now = self.clock()
        if not self._running or now - self._said < QUIET_S:
            return None
        jobs = ", ".join(f"{job.name} ({_duration(now - job.started)})" for job in self._running.values())
        return self._line(f"running: {jobs}", left=True)

    def left_s(self) -> float:
        """Seconds until everything is done, by the pace so far."""
        now, all_of, longest = self.clock(), dict.fromkeys(KINDS, 0.0), 0.0
        pace = {kind: took / self._planned_s[kind] for kind, took in self._took_s.items()}
        left = [(job.kind, job.planned_s * pace[job.kind] - (now - job.started)) for job in self._running.values()]
        left += [(kind, planned * pace[kind]) for planned, kind in self._waiting.values()]
        for kind, seconds in left:
            all_of[kind] += max(seconds, 0)
            longest = max(longest, seconds)
        on_cores = (all_of[MODEL] + all_of[LIGHT]) / max(self.known.cores, 1)
        return max(on_cores, all_of[GPU], longest)  # jobs with a GPU take turns

    def _line(self, text: str, *, left: bool) -> str:
        self._said = self.clock()
        place = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
        rest = f"  about {_duration(self.left_s())} left" if left and self.done < self.total else ""
        return f"{place} {text}{rest}"


def _key(rule: str, wildcards: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    return rule, tuple(sorted(wildcards.items()))


def _told(wildcards: Mapping[str, str]) -> Iterable[str]:
    """Values of wildcards, a shard as `2 of 3`."""
    values = dict(wildcards)
    shard, shards = values.pop("shard", None), values.pop("shards", None)
    return [*values.values(), *([f"{shard} of {shards}"] if shards not in (None, "1") else [])]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
