"""What a run will take, before it starts: `.venv/bin/python scripts/estimate.py [ARGUMENTS OF SNAKEMAKE]`.

It plans as `snakemake --dry-run` does with the same arguments, and prints minutes, memory and disk instead of the jobs.
"""

import os
import sys

from snakemake.cli import main

from atlas.planning.forecast import KNOWN, Forecast
from atlas.planning.speed import rate_of


def planned(arguments: list[str]) -> int:
    """Snakemake's exit status; its jobs are in KNOWN.plan."""
    try:
        main(["--logger", "estimate", "--dry-run", "--cores", str(os.cpu_count()), *arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


if __name__ == "__main__":
    status = planned(sys.argv[1:])
    if status == 0:
        print("\n".join(Forecast(rate_of, KNOWN).lines()))
    sys.exit(status)
