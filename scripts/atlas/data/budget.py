"""A limit on what somebody else's program, such as a chat template, may take."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ["BudgetError", "budget"]


_MEMORY = 2 << 30  # bytes: a thousand times what a conversation takes


class BudgetError(RuntimeError):
    """The program ran for longer than it may."""


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """Raise BudgetError inside the block once it has taken `seconds` of this process's own processor time, and
    MemoryError where it asks for more than 2 GiB beside what is there (on Linux).

    So a busy machine costs nobody the result. Outside of the main thread, where Python handles no signals, and where
    another timer of this kind runs, there is no limit.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_VIRTUAL)[0]:
        yield
        return

    with _memory_at_most(_MEMORY), _time_at_most(seconds):
        yield


@contextmanager
def _time_at_most(seconds: float) -> Iterator[None]:
    def over(number: int, frame: FrameType | None) -> NoReturn:
        raise BudgetError(f"it runs for longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _memory_at_most(more: int) -> Iterator[None]:
    """Let this process's address space grow by no more than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):  # another system than Linux
        yield
        return
    most = pages * resource.getpagesize() + more
    known = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([most, *known]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
