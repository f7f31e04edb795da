"""A copy of the project with tiny data, and real `snakemake` runs in it; for tests of the workflow and of clusters."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import yaml
from filelock import FileLock

import warm_python
from make_tiny import make
from places import ROOT

PAUSING = ROOT / "tests" / "workflow" / "pausing"
PARTS = ["Snakefile", "config.yaml", "rules", "scripts", "schemas", "profiles", "report", "envs", "configs", "data"]
# As Snakemake does at each start; argument: the folder scripts/.
READ_CODE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from atlas.planning.library import library
library(Path(sys.argv[1]).rglob("*.py"), Path(sys.argv[1]))
"""


class Project:
    """A working copy in which tests may change anything."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def copy(self, folder):
        """A copy with the results and Snakemake's memory of them."""
        shutil.copytree(self.folder, folder, symlinks=True)  # copytree keeps the times of files
        copied = Project(folder)
        copied.warm = self.warm
        return copied

    warm = True  # whether runs use tests/warm_python.py

    def command(self, *arguments):
        configfile = [] if "--configfile" in arguments else ["--configfile", "configs/tiny.yaml"]
        cores = [] if "--cores" in arguments else ["--cores", "2"]
        return [sys.executable, "-m", "snakemake", *cores, *arguments, *configfile]

    def environment(self):
        # Modules are compiled once for a project and its copies, whatever is said of pytest's own.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**inherited, "OMP_NUM_THREADS": "1"}

    def run(self, *arguments, timeout=1200):
        """The finished process of `snakemake ARGUMENTS`, output and errors together in stdout."""
        return subprocess.run(
            self._started(arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments, environment=None):
        """The same, running in a process group of its own; `said` gives what it says."""
        with (self.folder / "said.txt").open("w") as said:
            return subprocess.Popen(
                self._started(arguments),
                cwd=self.folder,
                env={**self.environment(), **(environment or {})},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
            )

    def _started(self, arguments):
        command = self.command(*arguments)
        return [warm_python.python(), *command[1:]] if self.warm else command

    def said(self):
        return (self.folder / "said.txt").read_text()

    def planned(self, *arguments):
        """{rule: number of jobs} that `snakemake -n` would run, without the target rule itself.

        Nor with the costs, which follow every other job up to the tables.
        """
        output = self.run("-n", *(arguments or ["figures/all"])).stdout
        table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal", output, re.S)
        if table is None:
            assert "Nothing to be done" in output, output
            return {}
        jobs = dict(line.split() for line in table[1].splitlines())
        jobs.pop("figures/all", None)
        jobs = {rule: int(count) for rule, count in jobs.items()}
        costs = ("aggregate_costs", "plot_costs")
        return {rule: count for rule, count in jobs.items() if rule not in costs} or jobs

    def remove(self, name):
        """Delete a file or a folder that is there."""
        path = self.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, name, old, new):
        """Replace `old`, which must stand there, in a file."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    def append(self, name, text):
        with (self.folder / name).open("a") as file:
            file.write(text)

    def configure(self, change):
        """Apply `change` (a function of the dictionary) to configs/tiny.yaml."""
        path = self.folder / "configs" / "tiny.yaml"
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def copy_project(folder):
    """A project in which nothing has run, but for what is compiled of it and what planning remembers of its code."""
    shutil.copytree(_template().name, folder, dirs_exist_ok=True)
    return Project(folder)


@cache
def _template():
    made = tempfile.TemporaryDirectory(prefix="project-")
    folder = Path(made.name)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / part).exists():
            shutil.copy2(ROOT / part, folder / part)
    make(folder / "tiny")
    environment = Project(folder).environment()
    scripts = folder / "scripts"
    subprocess.run([sys.executable, "-m", "compileall", "-qq", str(scripts)], env=environment, check=True)
    subprocess.run([sys.executable, "-c", READ_CODE, str(scripts)], env=environment, check=True)
    return made


def made_once(tmp_path_factory, name, make):
    """The project `name` after make(project), made by whichever of pytest's processes asks first."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a process that failed
            make(copy_project(folder))
            done.touch()
    return Project(folder)


def digests(folder, pattern):
    """{path below the folder: sha256} of the files that match."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(pattern))
    }


def wait_for(condition, limit=600):
    """Until condition() holds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.1)


@contextlib.contextmanager
def paused(project, before, *arguments, skip=0):
    """(process of snakemake, process id of its job) once a job is about to rename a finished file to `before`."""
    mark = project.folder / "paused"
    for leftover in project.folder.glob("paused*"):
        leftover.unlink()
    extra = {"PAUSE_BEFORE": before, "PAUSE_MARK": str(mark), "PAUSE_SKIP": str(skip), "PYTHONPATH": str(PAUSING)}
    process = project.start(*arguments, environment=extra)
    try:
        wait_for(lambda: mark.exists() or process.poll() is not None)
        assert mark.exists(), project.said()
        yield process, int(mark.read_text())
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if mark.exists():  # the job goes on as soon as it is gone, so the job must be gone first
            job = int(mark.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(job, signal.SIGKILL)
            wait_for(lambda: not Path(f"/proc/{job}").exists())
        mark.unlink(missing_ok=True)
