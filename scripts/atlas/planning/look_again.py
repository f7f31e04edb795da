"""One timer at a time for Snakemake's scheduler.

Snakemake (9.27) looks for jobs to start a second after each look, because of its limit of jobs per second. Each job
that ends is a look as well, and begins a chain of its own that lasts while a job is waiting for room: after a hundred
jobs it looked a hundred times a second, each time with a thread of its own, and waited for the last of them at the end.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["look_again_once", "rescheduled"]

_METHOD = "_schedule_reevalutation"  # as it is spelled there


def look_again_once() -> None:
    """Let Snakemake's scheduler have one timer at a time, where it is the scheduler that this knows."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    if hasattr(JobScheduler, _METHOD):
        setattr(JobScheduler, _METHOD, rescheduled)


def rescheduled(scheduler: Any, delay: float) -> None:
    """Look again in `delay` seconds, unless that is about to happen anyhow; the end of the run waits for no look."""

    def look() -> None:
        scheduler._look_is_due = False  # before the look: what happens from here on wants another one
        scheduler._open_jobs.release()

    if not getattr(scheduler, "_look_is_due", False):
        scheduler._look_is_due = True
        timer = threading.Timer(delay, look)
        timer.daemon = True
        timer.start()
