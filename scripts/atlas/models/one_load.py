"""Several jobs of one run on one load of their model, which on a GPU takes longer than most shards.

A job that is done with its own result, and holds the model, goes on with others of its run that would load the same
model in the same way: other shards first, then other data sets and stages. It leaves what it makes to their jobs, which
Snakemake starts as ever and which take it in place of loading the model (results/ahead.py). Every result is made by the
same code from the same inputs as without this, and one that is cut off is lost alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.models.task import ModelTask
from atlas.results import ahead
from atlas.results.ahead import Plan, Planned, claimed, kept, unfinished
from atlas.results.task import write_result

if TYPE_CHECKING:
    from snakemake.script import Snakemake

_LOG = logging.getLogger("atlas")


class OneLoad:
    """What a job has to do with others of its run; nothing at all where the run has no plan that names it.

    jobs = OneLoad(snakemake)
    with jobs.own() as made:
        if not made:
            ...  # make the result
    jobs.go_on(task)
    """

    def __init__(self, snakemake: Snakemake) -> None:
        self._began = time.monotonic()
        self._seconds = 60.0 * snakemake.resources.get("runtime", 0)
        self._longest = 0.0
        plan = ahead.read_plan() if len(snakemake.output) == 1 else None
        planned = plan.of(snakemake.output[0]) if plan else None
        self._plan: Plan | None = plan if planned else None
        self._key: str | None = None
        if planned:
            self._job = ahead.planned(snakemake, planned.resources)

    @contextlib.contextmanager
    def own(self) -> Iterator[bool]:
        """Inside the block no other job works on this one's result. True: another has made it, and it is in its place.

        What is made inside the block is kept a second time until the job ends, since Snakemake removes the output of a
        job that is killed.
        """
        if self._plan is None:
            yield False
            return
        with claimed(self._job.output, wait=True):
            self._key = self._job.key()
            taken = self._key is not None and ahead.take(self._job.output, self._key)
            if taken:
                _LOG.info("the result was made on another job's load of the model and is taken as it is")
            yield taken
            self._longest = time.monotonic() - self._began
            if taken or not self._unchanged() or self._job.key() != self._key or not self._others():
                self._key = None
                return
            try:
                os.link(self._job.output, kept(self._job.output, str(self._key)))
            except OSError as error:
                _LOG.info("the model is not kept for other jobs: %s has no links (%s)", self._job.output, error)
                self._key = None

    def go_on(self, task: ModelTask) -> None:
        """Make what other jobs of the run need of the model that `task` has loaded, while its planned time lasts."""
        if self._plan is None or self._key is None:
            return
        while sum(self._make(job, task) for job in self._others()):
            pass  # what was not there before may be there now
        with claimed(self._job.output, wait=True):
            kept(self._job.output, self._key).unlink(missing_ok=True)

    def _others(self) -> list[Planned]:
        """The jobs that could be done with this one's model, those of its own rule and data set first."""
        own = self._job
        found = [
            job.filled(own) if job.stage == own.stage else job
            for job in self._plan.jobs  # type: ignore[union-attr]
            if job.output != own.output and self._fits(job)
        ]
        return sorted(found, key=lambda job: (job.stage != own.stage, _but_shard(job) != _but_shard(own)))

    def _fits(self, job: Planned) -> bool:
        own = self._job
        if (job.inputs.get("model"), job.params.get("runtime")) != (own.inputs.get("model"), own.params.get("runtime")):
            return False
        # Jobs of one rule and model ask for the same, whether or not that is known when the run begins.
        return job.stage == own.stage or all(
            isinstance(value, int) and value <= own.resources[name] for name, value in job.resources.items()
        )

    def _make(self, job: Planned, task: ModelTask) -> bool:
        """Whether the result of `job` was made for it."""
        if "model" not in task.held:
            return False
        if not self._unchanged():
            task.held.clear()
            return False
        if time.monotonic() - self._began + self._longest > self._seconds:
            _LOG.info("no other job's result is made: the planned %.0f minutes are spent", self._seconds / 60)
            task.held.clear()
            return False
        with claimed(job.output, wait=False) as free:
            key = job.key() if free and not self._plan.finished(job) else None  # type: ignore[union-attr]
            if key is None or kept(job.output, key).exists():
                return False
            return self._made(job, task, key)

    def _made(self, job: Planned, task: ModelTask, key: str) -> bool:
        began, half = time.monotonic(), unfinished(job.output)
        _LOG.info("going on with the loaded model: %s %s", job.stage, job.wildcards)
        other = ModelTask(
            inputs=job.inputs,
            params=job.params,
            wildcards=job.wildcards,
            threads=task.threads,
            log=task.log,
            progress=task.progress,
            counting=task.counting,
            held=task.held,
        )
        try:
            write_result(other, {"": half})
            if self._unchanged() and job.key() == key:
                os.replace(half, kept(job.output, key))
                self._longest = max(self._longest, time.monotonic() - began)
                return True
            _LOG.info("%s is left to its own job: its inputs or our code were changed meanwhile", job.output)
        except Exception as error:  # its own job says so, and how it can be mended
            _LOG.info("%s is left to its own job: %s", job.output, error)
        finally:
            half.unlink(missing_ok=True)
        task.held.clear()
        return False

    def _unchanged(self) -> bool:
        """Whether the code that this process has read is still the one that the run's plan was made with."""
        root = f"{Path(__file__).parents[2]}{os.sep}"
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        for file in files:
            if file and file.startswith(root) and _newest(file) > self._plan.read_ns:  # type: ignore[union-attr]
                _LOG.info("the model is not kept for other jobs: %s was changed since the run began", file)
                return False
        return True


def _newest(file: str) -> float:
    """When a file was changed, or put where it is, in ns."""
    try:
        facts = os.stat(file)
    except FileNotFoundError:
        return math.inf
    return max(facts.st_mtime_ns, facts.st_ctime_ns)


def _but_shard(job: Planned) -> Mapping[str, Any]:
    return {name: value for name, value in job.wildcards.items() if name != "shard"}
