"""A limit on what somebody else's program, such as a chat template, may take."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["BudgetError", "budget"]


class BudgetError(RuntimeError):
    """The program ran for longer than it may."""


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """Raise BudgetError inside the block once it has taken `seconds` of this process's own processor time.

    So a busy machine costs nobody the result. Outside of the main thread, where Python handles no signals, and where
    another timer of this kind runs, there is no limit.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_VIRTUAL)[0]:
        yield
        return

    def over(number: int, frame: FrameType | None) -> NoReturn:
        raise BudgetError(f"it runs for longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
