"""What every job does around its work: a log, progress, and one clear sentence when something is wrong."""

import contextlib
import logging
import sys
import time
from pathlib import Path

from atlas.errors import AtlasError
from atlas.versions import package_versions

_PACKAGES = ("snakemake", "torch", "transformers", "numpy", "pandas", "pyarrow")


@contextlib.contextmanager
def job(snakemake):
    """Yield the job's logger; an AtlasError ends the job with its sentence alone, on stderr and in the log."""
    path = Path(snakemake.log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=path, filemode="w", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    log = logging.getLogger("atlas")
    started = time.monotonic()
    log.info("%s %s", snakemake.rule, dict(snakemake.wildcards.items()))
    log.info("versions %s, threads %d", package_versions(*_PACKAGES), snakemake.threads)
    try:
        yield log
    except AtlasError as error:
        log.error("%s", error)
        sys.exit(f"Error in {snakemake.rule}: {error}")
    except Exception:
        log.exception("unexpected error")
        raise
    log.info("finished after %.1f s, peak memory %.0f MiB", time.monotonic() - started, _peak_mebibytes())


def progress(description, unit):
    """A tqdm wrapper for an iterable: a bar on a terminal, a line every half minute in a file."""
    from tqdm import tqdm

    def wrap(items):
        return tqdm(items, desc=description, unit=unit, mininterval=0.5 if sys.stderr.isatty() else 30)

    return wrap


@contextlib.contextmanager
def counting(description, unit, total):
    """Yield a function to call with each finished item; it advances a bar of `total`."""
    from tqdm import tqdm

    interval = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=total, desc=description, unit=unit, mininterval=interval) as bar:
        yield lambda item: bar.update()


def provenance(model=None, dataset=None, options=None, **more):
    """The provenance document of a result: where model and data come from, the options, the versions."""
    found = {"options": options, "versions": package_versions(*_PACKAGES[1:]), **more}
    if model is not None:
        found["model"] = model
    if dataset is not None:
        found["dataset"] = dataset
    return found


def optional_path(value):
    """None, or the input as a Path."""
    return None if value is None else Path(value)


def _peak_mebibytes():
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
