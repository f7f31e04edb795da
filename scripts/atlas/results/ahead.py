"""Results that one job made for another of its run, whose model it had loaded: kept under a key, and taken once.

The key is a digest of all that the other job would have: its rule, wildcards, params (options and our code are among
them), the content of its inputs, versions, and the GPUs of the machine. A job takes a result only under its own key, so
nothing that is out of date is ever taken; whatever else lies there is removed.

A result lies in `.ahead/` beside its place and gets there in one step. A job that works on one holds a lock of the
kernel (flock), which goes with its process however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.checksums import sha256_file
from atlas.errors import AtlasError
from atlas.models.devices import listed_gpus
from atlas.results.documents import PACKAGES
from atlas.results.versions import package_versions

if TYPE_CHECKING:
    from snakemake.script import Snakemake

_LOG = logging.getLogger("atlas")
# Names the file in which a run says which jobs it has planned; not set where jobs load their models for themselves.
PLAN = "ATLAS_PLANNED_JOBS"
FOLDER = ".ahead"
_OF_A_RUN = re.compile(r"(?<![^\s\"'/])results/runs/[^/\"]+/")  # rules/common.smk: OWN
TBD = "<TBD>"  # what Snakemake puts for a value that follows from files which are not there when a run begins
_PACKAGES = (*PACKAGES, "tokenizers", "safetensors", "accelerate")


@dataclass(frozen=True)
class Planned:
    """A job as its rule gives it. inputs: {name: path, or list of paths}; listed: all params, those without names too;
    resources: those that are known when the run begins."""

    stage: str
    wildcards: dict[str, str]
    inputs: dict[str, Any]
    params: dict[str, Any]
    listed: list[Any]
    output: str
    resources: dict[str, Any] = field(default_factory=dict)

    def key(self) -> str | None:
        """32 hex digits of all that its result depends on, the same in every run of a name; None while an input is
        missing."""
        told: dict[str, Any] = {
            "job": [self.stage, self.wildcards, self.params, self.listed, self.output],
            "inputs": {},
            "versions": [platform.python_version(), package_versions(*_PACKAGES)],
            "machine": [platform.machine(), sorted(line.partition(" (UUID")[0] for line in listed_gpus())],
        }
        try:
            for name, paths in self.inputs.items():
                named = [paths] if isinstance(paths, str) else paths
                told["inputs"][name] = [[path, _content(Path(path))] for path in named]
        except FileNotFoundError:
            return None
        text = _OF_A_RUN.sub("results/", json.dumps(told, sort_keys=True))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def filled(self, own: Planned) -> Planned:
        """With what was not known when the run began as `own`, another job of its rule and model, has it."""
        params, listed = _filled(self.params, own.params), _filled(self.listed, own.listed)
        return replace(self, params=params, listed=listed)


def planned(snakemake: Snakemake, resources: Iterable[str] = ()) -> Planned:
    """A job that runs, with those of its resources that are named. Raises TypeError as `plain` does."""
    return Planned(
        stage=snakemake.rule,
        wildcards=plain(dict(snakemake.wildcards.items())),
        inputs=plain(dict(snakemake.input.items())),
        params=plain(dict(snakemake.params.items())),
        listed=plain(list(snakemake.params)),
        output=str(snakemake.output[0]),
        resources={name: snakemake.resources.get(name, 0) for name in resources},
    )


@dataclass(frozen=True)
class Plan:
    """The jobs of a run that may be done ahead. read_ns: when the code of the run was read, by the system's clock;
    began_ns: when it began, by the clock of the disk with the results."""

    jobs: list[Planned]
    read_ns: int
    began_ns: int

    def of(self, output: str) -> Planned | None:
        """The job that makes `output`."""
        return next((job for job in self.jobs if job.output == output), None)

    def finished(self, job: Planned) -> bool:
        """Whether this run has made the result of `job`; one of an earlier run does not count."""
        try:
            return Path(job.output).stat().st_mtime_ns >= self.began_ns
        except FileNotFoundError:
            return False


def write_plan(path: str | Path, plan: Plan) -> None:
    """Write `plan` for read_plan."""
    told = {"read_ns": plan.read_ns, "began_ns": plan.began_ns, "jobs": [vars(job) for job in plan.jobs]}
    Path(path).write_text(json.dumps(told), encoding="utf-8")


def read_plan() -> Plan | None:
    """The plan of the run that this job is of; None where it has none."""
    try:
        told = json.loads(Path(os.environ[PLAN]).read_text(encoding="utf-8"))
    except (KeyError, OSError):
        return None
    return Plan([Planned(**job) for job in told["jobs"]], told["read_ns"], told["began_ns"])


def plain(value: Any) -> Any:
    """What Snakemake hands over, in plain types. Raises TypeError for what a file of JSON would not give back."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a key that is no text")
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, Path)):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"a value of {type(value).__name__}")


@contextlib.contextmanager
def claimed(output: str, *, wait: bool) -> Iterator[bool]:
    """Inside the block no other job works on the result of the job that makes `output`, if True is given.

    wait: until that is so. The lock's file is removed at the end, and the folder where nothing else is left in it.
    """
    path = _place(output, ".lock")
    try:
        file = _locked(path, wait)
    except OSError as error:
        raise AtlasError(
            f"{path} cannot be locked ({error}), so jobs cannot share a loaded model; set one_load: false."
        ) from None
    try:
        yield file is not None
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # before it is free: who waits for it notices, and makes a new one
            os.close(file)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def kept(output: str, key: str) -> Path:
    """Where the result of the job that makes `output` lies if it was made under `key`."""
    return _place(output, f".{key}{Path(output).suffix}")


def unfinished(output: str) -> Path:
    """Where such a result is written, by who has claimed it."""
    return _place(output, f".unfinished{Path(output).suffix}")


def take(output: str, key: str) -> bool:
    """Put the result under `key` in its place, if there is one; remove those under other keys."""
    from atlas.results.files import (
        check_seal,  # with pyarrow, which a plan, made by Snakemake's own Python, may not have
    )

    found = kept(output, key)
    forget(output, but=found)
    if not found.exists():
        return False
    try:
        check_seal(found)
    except AtlasError as error:
        _LOG.warning("%s; it was made ahead of this job and is removed", error)
        found.unlink()
        return False
    os.utime(found)  # as if it were written now: its inputs are older
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    os.replace(found, output)
    return True


def forget(output: str, but: Path | None = None) -> None:
    """Remove what was made ahead for the job that makes `output`."""
    path = Path(output)
    for file in _place(output, "").parent.glob(f"{path.stem}.*{path.suffix}"):
        if file != but:
            file.unlink(missing_ok=True)


def _filled(value: Any, own: Any) -> Any:
    if value == TBD:
        return own
    if isinstance(value, dict) and isinstance(own, dict):
        return {key: _filled(item, own.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(own, list) and len(value) == len(own):
        return [_filled(item, one) for item, one in zip(value, own, strict=True)]
    return value


def _place(output: str, ending: str) -> Path:
    path = Path(output)
    return path.parent / FOLDER / f"{path.stem}{ending}"


def _locked(path: Path, wait: bool) -> int | None:
    """The open file at `path`, locked for this process; None where another has it and `wait` is false."""
    said = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # the folder was removed meanwhile
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                os.close(file)
                return None
            if not said:
                _LOG.info("waiting for a job that has the model loaded and works on this one's result")
                said = True
            fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # its file was removed by who had it


def _content(path: Path) -> str:
    """A digest of a file's bytes; of a model's folder that of its record, which holds those of its files."""
    if path.is_file():
        return sha256_file(path)
    record = path / "provenance.json"
    if record.is_file():
        return sha256_file(record)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise FileNotFoundError(path)
    lines = (f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
