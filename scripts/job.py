"""What every job does around its work: a log, progress, and one clear sentence when something is wrong."""

import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path

from atlas.errors import AtlasError
from atlas.results.documents import PACKAGES
from atlas.results.versions import package_versions

__all__ = ["counting", "job", "optional_path", "progress", "task"]

_LOG = logging.getLogger("atlas")
_done = []  # what progress() and counting() have counted in this job


@contextlib.contextmanager
def job(snakemake):
    """Yield the job's logger; an AtlasError ends the job with its sentence alone, on stderr and in the log."""
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=path, filemode="w", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    log = _LOG
    started = time.monotonic()
    log.info("%s %s", snakemake.rule, dict(snakemake.wildcards.items()))
    log.info(
        "versions %s, threads %d (OMP_NUM_THREADS %s)",
        package_versions("snakemake", *PACKAGES),
        snakemake.threads,
        os.environ.get("OMP_NUM_THREADS", "not set"),
    )
    try:
        yield log
    except AtlasError as error:
        log.error("%s", error)
        sys.exit(f"Error in {snakemake.rule}: {error}")
    except Exception:
        log.exception("unexpected error")
        raise
    for line in _written(snakemake.output):
        log.info("%s", line)
    log.info("finished after %.1f s, peak memory %.0f MiB", time.monotonic() - started, _peak_mebibytes())
    log.info("summary %s", json.dumps(_summary()))


def progress(description, unit):
    """A tqdm wrapper for an iterable: a bar on a terminal, a line every half minute in a file."""

    def wrap(items):
        with counting(description, unit, len(items) if hasattr(items, "__len__") else None) as advance:
            for item in items:
                yield item
                advance(item)

    return wrap


@contextlib.contextmanager
def counting(description, unit, total):
    """Yield a function to call with each finished item; it advances a bar of `total` and counts for the log.

    A list of rows counts as so many rows, anything else as one.
    """
    from tqdm import tqdm

    rows, started = 0, time.monotonic()
    interval = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=total, desc=description, unit=unit, mininterval=interval) as bar:

        def advance(item):
            nonlocal rows
            rows += len(item) if isinstance(item, list) else 1
            bar.update()

        try:
            yield advance
        finally:
            seconds = time.monotonic() - started
            steps = f"{unit}es" if unit.endswith("ch") else f"{unit}s"
            what = "rows" if rows > bar.n else steps
            _done.append({"what": what, "rows": rows, "seconds": seconds})
            inside = f" of {rows} rows" if what == "rows" else ""
            _LOG.info("%s: %d %s%s, %.3g %s/s", description, bar.n, steps, inside, rows / seconds, what)


def task(kind, snakemake, log):
    """What the job of an analysis is given, of `kind` Task or ModelTask."""
    return kind(
        inputs=dict(snakemake.input.items()),
        params=dict(snakemake.params.items()),
        wildcards=dict(snakemake.wildcards.items()),
        threads=snakemake.threads,
        log=log,
        progress=progress,
        counting=counting,
    )


def optional_path(value):
    """None, or the input as a Path."""
    return None if value is None else Path(value)


def _summary():
    """What results/tables/costs takes from a log: rows, the seconds they took, peak memory here and on the device."""
    device, mebibytes = _device()
    return {
        "rows": sum(part["rows"] for part in _done),
        "unit": _done[0]["what"] if _done else "",
        "row_seconds": round(sum(part["seconds"] for part in _done), 3),
        "peak_mib": round(_peak_mebibytes(), 1),
        "device": device,
        "device_mib": mebibytes,
    }


def _written(files):
    """A line for each parquet file of the job's output, with its rows; only where the job has read or written some."""
    parquet = sys.modules.get("pyarrow.parquet")
    for file in files if parquet else ():
        if str(file).endswith(".parquet") and Path(file).is_file():
            yield f"wrote {file}: {parquet.read_metadata(file).num_rows} rows"


def _device():
    """(name, MiB held at most on it and its like): the GPUs that torch was used on, or the CPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "cpu", 0
    numbers = range(torch.cuda.device_count())
    used = sum(torch.cuda.max_memory_allocated(number) for number in numbers)
    return torch.cuda.get_device_name(), round(used / 2**20)


def _peak_mebibytes():
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
