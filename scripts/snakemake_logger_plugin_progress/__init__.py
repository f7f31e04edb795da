"""A logger of Snakemake that says where a run stands: one line for each finished job, and what goes wrong.

Of a job that ended with a sentence of its own no more is said than that, its log and what was not made.

Snakemake finds it by its name where `scripts` is on the path (`--logger progress`); `make figures` uses it. The log
that Snakemake keeps in .snakemake/log has everything that it would have printed.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from atlas.planning.failures import Failures
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
# What Snakemake says of failed jobs beside their own block, and at the end of a run with any.
EXCEPTION, THE_END = "RuleException", "Exiting because a job execution failed"
AROUND = ("Shutting down", "WorkflowError:\nAt least one job did not complete")
EACH_TIME = ("Select jobs to execute", "Execute ", "Finished jobid", "Writing to ")


class LogHandler(InPlaceOfSnakemake):
    """Prints to standard error; warnings and errors as Snakemake words them."""

    def __post_init__(self) -> None:
        self._progress: Progress | None = None
        self._failures = Failures()
        self._exceptions: list[str] = []  # told if their job turns out to have no sentence
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
            self._failures.finishes(values.job_id)
            _say(self._progress.ends(values.job_id))
        elif event == LogEvent.JOB_ERROR and self._progress:
            self._progress.stops(values.jobid)
            self._failed(record)
        elif event not in TOLD_OTHERWISE or self.common_settings.dryrun:
            text = self.format(record)
            if text and text != "None" and not text.startswith(EACH_TIME):
                self._tell(text)

    def _failed(self, record: logging.LogRecord) -> None:
        values: Any = record
        here = not (values.aux or {}).get("external_jobid")
        said = self._failures.fails(values.jobid, values.rule_name, list(values.log), list(values.output), here=here)
        for text in [said] if said else [*self._exceptions, self.format(record)]:
            _say(text)
        self._exceptions.clear()

    def _tell(self, text: str) -> None:
        """A text of Snakemake's, unless ours stands for it."""
        if text.startswith(EXCEPTION):
            self._exceptions.append(text)
        elif text.startswith(THE_END) and self._progress:
            _say(text if not self._failures.told else None)
            _say(self._failures.end(self._progress.waiting()))
        elif not (text.startswith(AROUND) and self._failures.told and self._progress):
            _say(text)

    def close(self) -> None:
        """The run is over."""
        self._over.set()
        for text in self._exceptions:
            _say(text)
        self._exceptions.clear()
        super().close()

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            with self._one_at_a_time:
                if self._progress:
                    _say(self._progress.quiet())


def _say(text: str | None) -> None:
    if text:
        print(text, file=sys.stderr, flush=True)
