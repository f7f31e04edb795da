"""Which GPUs a job takes where several jobs share one machine: as many as it asked for, and none that another has.

A job holds a lock of the kernel (flock) on a file of each GPU for as long as its process lives. The kernel frees it
however the process ends, so none is ever stale. On a cluster the scheduler has chosen, and nothing is done here.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from atlas.errors import AtlasError
from atlas.models.devices import VISIBLE, Gpu, visible_gpus

_LOG = logging.getLogger("atlas")
# Set by the rules in what Snakemake starts by way of a scheduler (its mode `remote`): that has chosen the GPUs.
GIVEN = "ATLAS_GPUS_GIVEN"
# Where the lock files lie, of all users and runs of the machine; another folder on its own disks may be given.
FOLDER = "ATLAS_GPU_LOCKS"
_DEFAULT_FOLDER = "/tmp/llm-internals-atlas-gpus"  # not TMPDIR, which differs between runs and users
_PAUSE = 0.5  # seconds between two looks at GPUs that other jobs have
_held: list[int] = []  # open files with the locks of this process; closed by its end alone


def take_gpus(number: int) -> None:
    """Make exactly `number` GPUs visible to this process, and wait until as many are free of other jobs of the machine.

    To be called before torch uses CUDA. Under a scheduler, where GPUs are hidden from the run, and where none can be
    told apart, CUDA_VISIBLE_DEVICES stays as it is, and the log says which of these. Raises AtlasError for more GPUs
    than there are, and for a folder of locks that cannot be used.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError("take_gpus was called after torch had begun to use CUDA")
    if os.environ.get(GIVEN):
        _LOG.info("GPUs are those of the scheduler: %s is %s", VISIBLE, os.environ.get(VISIBLE, "not set"))
        return
    gpus = visible_gpus()
    if not gpus:
        if number and VISIBLE not in os.environ:
            _LOG.warning(
                "no nvidia-smi lists the GPUs of this machine, so jobs side by side are not told apart: set %s for the "
                "run (0,1 for two GPUs)",
                VISIBLE,
            )
        return
    if number > len(gpus):
        raise AtlasError(
            f"The job asks for {number} GPUs, but {len(gpus)} can be used here ({_names(gpus)}). Run with --resources "
            f"gpu={len(gpus)}; if the model then does not fit, it needs more or larger GPUs (gpu_memory_gb says how "
            "much memory one has) or a smaller dtype."
        )
    chosen = _locked(gpus, number) if number else ()
    os.environ[VISIBLE] = ",".join(gpu.name for gpu in chosen)
    _LOG.info("GPUs of this job: %s", _names(chosen) or "none, as it asked for none")


def _names(gpus: Sequence[Gpu]) -> str:
    return ", ".join(gpu.name if gpu.name == gpu.identity else f"{gpu.name} ({gpu.identity})" for gpu in gpus)


def _locked(gpus: Sequence[Gpu], number: int) -> tuple[Gpu, ...]:
    """`number` of `gpus`, locked for this process.

    All at once or none: no job holds one GPU while it waits for another, so none wait for each other. Jobs that choose
    among the same GPUs stand in a line, or one that needs several would be overtaken for ever by those that need one.
    """
    folder = Path(os.environ.get(FOLDER) or _DEFAULT_FOLDER)
    line = hashlib.sha256("\n".join(sorted(gpu.identity for gpu in gpus)).encode()).hexdigest()[:16]
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)
        waiting = _open(folder / f"line-{line}")
        try:
            fcntl.flock(waiting, fcntl.LOCK_EX)
            said = False
            while True:
                if chosen := _try(folder, gpus, number):
                    return chosen
                if not said:
                    _LOG.info("waiting for %d of the GPUs %s, which other jobs use", number, _names(gpus))
                    said = True
                time.sleep(_PAUSE)
        finally:
            os.close(waiting)
    except OSError as error:
        raise AtlasError(
            f"{folder}, where jobs lock their GPUs, cannot be used ({error}); set {FOLDER} to a folder on this machine "
            "that all its users can write to."
        ) from None


def _try(folder: Path, gpus: Sequence[Gpu], number: int) -> tuple[Gpu, ...]:
    """The first `number` of `gpus` that are free, now locked; () and nothing locked where fewer are."""
    taken: dict[Gpu, int] = {}
    for gpu in gpus:
        file = _open(folder / gpu.identity.replace("/", "_"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        taken[gpu] = file
        if len(taken) == number:
            _held.extend(taken.values())
            return tuple(taken)
    for file in taken.values():
        os.close(file)
    return ()


def _open(path: Path) -> int:
    """The open file at `path`, made where there is none.

    Other users' files are opened for reading: a lock needs no more, and in a folder that all may write to the kernel
    lets nobody else open them with O_CREAT.
    """
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(PermissionError):  # made by another user since
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.fchmod(file, 0o666)
            return file
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
