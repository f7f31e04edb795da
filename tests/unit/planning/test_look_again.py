import threading
from types import SimpleNamespace

from snakemake.scheduling.job_scheduler import JobScheduler

from atlas.planning.look_again import look_again_once, rescheduled


class Looks:
    """A scheduler that counts how often it is woken."""

    def __init__(self):
        self.number, self._open_jobs, self.woken = 0, SimpleNamespace(release=self._release), threading.Event()

    def _release(self):
        self.number += 1
        self.woken.set()


def test_many_wishes_are_one_look_and_a_later_wish_is_another():
    scheduler, before = Looks(), threading.active_count()
    for _ in range(50):
        rescheduled(scheduler, 0.3)
    assert threading.active_count() <= before + 1
    assert scheduler.woken.wait(60)
    assert scheduler.number == 1
    scheduler.woken.clear()
    rescheduled(scheduler, 0.01)
    assert scheduler.woken.wait(60)
    assert scheduler.number == 2


def test_a_wish_while_it_looks_is_not_lost():
    """The scheduler may ask for the next look before the timer of this one has ended."""
    scheduler = Looks()
    count = scheduler._open_jobs.release

    def release():
        if not scheduler.number:
            rescheduled(scheduler, 0.01)
        count()

    scheduler._open_jobs.release = release
    rescheduled(scheduler, 0.01)
    for _ in range(2):
        assert scheduler.woken.wait(60)
        scheduler.woken.clear()
        if scheduler.number == 2:
            break
    assert scheduler.number == 2


def test_the_end_of_a_process_waits_for_no_look():
    rescheduled(Looks(), 1000)
    assert [
        thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and not thread.daemon
    ] == []


def test_snakemakes_scheduler_is_the_one_that_is_known(monkeypatch):
    """A version that has another one is not changed: then the module can go."""
    monkeypatch.setattr(JobScheduler, "_schedule_reevalutation", JobScheduler._schedule_reevalutation)
    look_again_once()
    assert JobScheduler._schedule_reevalutation is rescheduled
