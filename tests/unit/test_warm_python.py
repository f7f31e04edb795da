"""The Python that has its imports behind it (tests/warm_python.py) ends as Python does, and dies as its caller does."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

import warm_python

pytestmark = pytest.mark.slow

ENDS = {
    "the end": "print('done')",
    "a number": "import sys; print('done'); sys.exit(3)",
    "a large number": "import sys; sys.exit(257)",
    "a sentence": "import sys; sys.exit('no')",
    "nothing": "import sys; sys.exit()",
    "an exception": "raise ValueError('wrong')",
    "a signal": "import os; os.kill(os.getpid(), 15)",
    "functions at exit": "import atexit; atexit.register(print, 'late')",
    "a thread": "import threading, time; threading.Timer(0.2, print, ['late']).start()",
    "a part of a line": "import sys; sys.stdout.write('part'); sys.stderr.write('part')",
    "a pool": "from concurrent.futures import ThreadPoolExecutor as P; P().submit(print, 'pooled')",
    "arguments": "import sys; print(sys.argv[1:], __name__)",
}
WAITS = """
import os, signal, subprocess, sys, time
if len(sys.argv) > 2:
    signal.signal(signal.SIGINT, lambda *_: sys.exit(7))
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""


def ended(program, script, *arguments):
    return subprocess.run([program, script, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_as_python_does(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(ENDS[end])
    warm, plain = (ended(program, script, "one", "two") for program in (warm_python.python(), sys.executable))
    assert (warm.returncode, warm.stdout) == (plain.returncode, plain.stdout)
    assert warm.stderr.splitlines()[-1:] == plain.stderr.splitlines()[-1:]


@pytest.fixture
def waiting(tmp_path):
    """start(*arguments) gives (the program, process id of what runs) once it waits."""
    started = []

    def start(*arguments):
        script, mark = tmp_path / "script.py", tmp_path / "mark"
        script.write_text(WAITS)
        # What a shell runs in the background ignores this signal, and what it starts as well.
        heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        started.append(subprocess.Popen([warm_python.python(), script, mark, *arguments], preexec_fn=heeded))
        until(lambda: mark.exists() and mark.read_text())
        return started[-1], int(mark.read_text())

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_program_ends_what_runs(waiting, number):
    process, job = waiting()
    process.send_signal(number)
    assert process.wait(60) == -number
    until(lambda: not os.path.exists(f"/proc/{job}"))


def test_what_runs_may_answer_a_signal(waiting):
    process, _ = waiting("answers")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_program_dies_as_what_runs_does(waiting, number):
    process, job = waiting()
    os.kill(job, number)
    assert process.wait(60) == -number


def test_a_customisation_on_the_path_is_run(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.customised = True\n")
    script = tmp_path / "script.py"
    script.write_text("import sys; print(getattr(sys, 'customised', False))")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [warm_python.python(), script]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == "True\n"
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"
