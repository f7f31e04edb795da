"""A logger of Snakemake that notes a dry run's jobs for scripts/estimate.py, in place of printing them.

Snakemake finds it by its name where `scripts` is on the path (`--logger estimate`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from atlas.planning.forecast import KNOWN


class LogHandler(LogHandlerBase):
    """Notes jobs in KNOWN.plan, prints warnings and errors as they come."""

    def emit(self, record: logging.LogRecord) -> None:
        """One event of Snakemake."""
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            values: Any = record
            memory = values.resources.get("mem_mb")
            asked = float(memory) if isinstance(memory, int | float) else 0.0
            KNOWN.plan.append((values.rule_name, dict(values.wildcards), asked))
        elif record.levelno >= logging.WARNING:
            print(record.getMessage(), file=sys.stderr)

    @property
    def writes_to_stream(self) -> bool:
        """In place of Snakemake's own output."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Nothing is written."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake's own is right: it holds back what only --verbose shows."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Messages are printed as they are."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Jobs alone count."""
        return False
