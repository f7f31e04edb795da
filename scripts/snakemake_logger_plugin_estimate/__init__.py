"""A logger of Snakemake that notes a dry run's jobs for scripts/estimate.py, in place of printing them.

Snakemake finds it by its name where `scripts` is on the path (`--logger estimate`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from atlas.planning.forecast import KNOWN
from atlas.planning.loggers import InPlaceOfSnakemake


class LogHandler(InPlaceOfSnakemake):
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
