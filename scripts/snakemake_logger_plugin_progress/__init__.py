"""A logger of Snakemake that says where a run stands: one line for each finished job, and what goes wrong in full.

Snakemake finds it by its name where `scripts` is on the path (`--logger progress`); `make figures` uses it. The log
that Snakemake keeps in .snakemake/log has everything that it would have printed.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from atlas.planning.forecast import KNOWN
from atlas.planning.loggers import InPlaceOfSnakemake
from atlas.planning.progress import Progress

TICK_S = 5.0
# What Snakemake says of each job; the lines of Progress stand for it.
TOLD_OTHERWISE = {
    LogEvent.WORKFLOW_STARTED, LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.GROUP_INFO,
    LogEvent.PROGRESS, LogEvent.SHELLCMD, LogEvent.RESOURCES_INFO, LogEvent.RULEGRAPH,
}  # fmt: skip
# Of what it says besides.
EACH_TIME = ("Select jobs to execute", "Execute ", "Finished jobid", "Writing to ")


class LogHandler(InPlaceOfSnakemake):
    """Prints to standard error; warnings and errors as Snakemake words them."""

    def __post_init__(self) -> None:
        self._progress: Progress | None = None
        self._one_at_a_time = threading.Lock()
        self._over = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """One event of Snakemake."""
        with self._one_at_a_time:
            self._take(record)

    def _take(self, record: logging.LogRecord) -> None:
        values: Any = record
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO and not self.common_settings.dryrun:
            if self._progress is None:  # the plan stands when the first job starts
                self._progress = Progress(KNOWN)
            self._progress.starts(values.jobid, values.rule_name, dict(values.wildcards))
        elif event == LogEvent.JOB_FINISHED and self._progress:
            _say(self._progress.ends(values.job_id))
        elif event == LogEvent.JOB_ERROR and self._progress:
            self._progress.stops(values.jobid)
        if event not in TOLD_OTHERWISE or self.common_settings.dryrun:
            text = self.format(record)
            if text and text != "None" and not text.startswith(EACH_TIME):
                _say(text)

    def close(self) -> None:
        """The run is over."""
        self._over.set()
        super().close()

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            with self._one_at_a_time:
                if self._progress:
                    _say(self._progress.quiet())


def _say(text: str | None) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)
