"""What every job does around its work: a log, progress, and one clear sentence when something is wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from atlas.errors import AtlasError
from atlas.results.documents import PACKAGES
from atlas.results.versions import package_versions

if TYPE_CHECKING:
    from snakemake.script import Snakemake

    from atlas.results.task import Task

__all__ = ["counting", "job", "optional_path", "progress", "task"]

_LOG = logging.getLogger("atlas")
_done: list[dict[str, Any]] = []  # what progress() and counting() have counted in this job


@contextlib.contextmanager
def job(snakemake: Snakemake) -> Iterator[logging.Logger]:
    """Yield the job's logger; an AtlasError ends the job with its sentence alone, on stderr and in the log."""
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=path,
        filemode="w",
        encoding="utf-8",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        force=True,
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
        # with its line's end in one write: jobs beside this one have the same pipe, and sys.exit() writes that apart
        print(f"Error in {snakemake.rule}: {error}\n", end="", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("interrupted")
        sys.exit(130)  # without a traceback: nothing is wrong
    except Exception:
        log.exception("unexpected error")
        raise
    for line in _written(snakemake.output):
        log.info("%s", line)
    log.info("finished after %.1f s, peak memory %.0f MiB", time.monotonic() - started, _peak_mebibytes())
    log.info("summary %s", json.dumps(_summary()))


def progress(description: str, unit: str) -> Callable[[Iterable], Iterable]:
    """A tqdm wrapper for an iterable: a bar on a terminal, a line every half minute in a file."""

    def wrap(items: Iterable) -> Iterator:
        with counting(description, unit, len(items) if isinstance(items, Sized) else None) as advance:
            for item in items:
                yield item
                advance(item)

    return wrap


@contextlib.contextmanager
def counting(description: str, unit: str, total: int | None) -> Iterator[Callable[[Any], None]]:
    """Yield a function to call with each finished item; it advances a bar of `total` and counts for the log.

    A list of rows counts as so many rows, anything else as one.
    """
    from tqdm import tqdm

    rows, started = 0, time.monotonic()
    interval = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=total, desc=description, unit=unit, mininterval=interval) as bar:

        def advance(item: object) -> None:
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


_Kind = TypeVar("_Kind", bound="Task")


def task(kind: type[_Kind], snakemake: Snakemake, log: logging.Logger) -> _Kind:
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


def optional_path(value: str | None) -> Path | None:
    """None, or the input as a Path."""
    return None if value is None else Path(value)


def _summary() -> dict[str, Any]:
    """What results/tables/costs takes from a log: rows, the seconds they took, peak memory here and on the device."""
    device, mebibytes = _device()
    return {
        "rows": sum(part["rows"] for part in _done),
        "unit": next((part["what"] for part in _done if part["rows"]), ""),  # a shard may have nothing to do
        "row_seconds": round(sum(part["seconds"] for part in _done), 3),
        "peak_mib": round(_peak_mebibytes(), 1),
        "device": device,
        "device_mib": mebibytes,
    }


def _written(files: Iterable[str]) -> Iterator[str]:
    """A line for each parquet file of the job's output, with its rows; only where the job has read or written some."""
    parquet: Any = sys.modules.get("pyarrow.parquet")
    for file in files if parquet else ():
        if str(file).endswith(".parquet") and Path(file).is_file():
            yield f"wrote {file}: {parquet.read_metadata(file).num_rows} rows"


def _device() -> tuple[str, int]:
    """(name, MiB held at most on it and its like): the GPUs that torch was used on, or the CPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return "cpu", 0
    numbers = range(torch.cuda.device_count())
    used = sum(torch.cuda.max_memory_allocated(number) for number in numbers)
    return torch.cuda.get_device_name(), round(used / 2**20)


def _peak_mebibytes() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
