"""The whole tiny configuration, killed again and again: what is finished stays, and the end is that of an undisturbed
run, byte by byte."""

import base64
import os
import random
import signal
import time

import pytest

from chart import results
from projects import copy_project, wait_for

KILLS = 25


def shards(project):
    """{path: (inode, time)} of the shards that Snakemake knows to be finished."""
    marks = project.folder.glob(".snakemake/incomplete/**/*")
    unsure = {base64.b64decode(mark.name, validate=False).decode(errors="replace") for mark in marks if mark.is_file()}
    found = {
        path.relative_to(project.folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in project.folder.glob("results/activations/**/*-of-*.*")
        if not path.name.startswith(".")
    }
    return {name: facts for name, facts in found.items() if name not in unsure}


def timeless(project):
    """Results without what tells how long jobs took, and without the manifest, which has that figure's digest."""
    found = results(project)
    return {name: digest for name, digest in found.items() if "costs" not in name and "manifest" not in name}


def made(project):
    return sum(path.is_file() and not path.name.startswith(".") for path in project.folder.glob("results/**/*.*"))


def test_killed_at_random_moments_the_run_ends_as_an_undisturbed_one(tmp_path, pytestconfig):
    if not pytestconfig.getoption("--long"):
        pytest.skip("make test-long")
    clean, killed = (copy_project(tmp_path / name) for name in ("clean", "killed"))
    process = clean.run("figures/all", timeout=7200)
    assert process.returncode == 0, process.stdout
    draw, finished, kills = random.Random(0), {}, 0
    for _ in range(KILLS):
        before = made(killed)
        process = killed.start("figures/all")
        wait_for(lambda: made(killed) > before or process.poll() is not None)  # noqa: B023
        if process.poll() is not None:
            break
        time.sleep(draw.uniform(0, 4))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        now = shards(killed)
        assert {name: now.get(name) for name in finished} == finished
        finished = now
        assert killed.run("--unlock").returncode == 0
    process = killed.run("figures/all", timeout=7200)
    assert process.returncode == 0, process.stdout
    now = shards(killed)
    assert {name: now.get(name) for name in finished} == finished
    assert kills > KILLS // 2
    assert timeless(killed) == timeless(clean)
    assert not list(killed.folder.glob("results/**/.*.part"))
