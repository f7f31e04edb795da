"""Whatever is written says in one sentence that there is no room for it, and leaves nothing half behind."""

import contextlib
import errno
import os
import resource
import subprocess
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from atlas.data.sources import materialise_dataset
from atlas.disk import disk_errors
from atlas.errors import AtlasError
from atlas.models.sources import materialise_model
from atlas.plots import style
from atlas.results.files import write_arrays, write_frame
from atlas.results.journal import Journal
from atlas.results.tables import write_csv, write_manifest
from tiny_models import save_folder, save_gguf

ROOM = 8192  # bytes
ENDINGS = ("pdf", "svg", "png", "caption")
NOISE = np.random.default_rng(0).random(20_000)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_folder(folder / "raw")
    materialise_model({"path": str(folder / "raw")}, folder / "model", staging=folder / "s", log=lambda _: None)
    save_gguf(folder / "x.gguf")
    (folder / "rows.txt").write_text("some text\n" * 20_000)
    return folder


def control(kind):
    def write(place, sources):
        source = {"control": {"of": "m", "kind": kind, "seed": 0}}
        materialise_model(source, place / "c", staging=place / "s", base=sources / "model", log=lambda _: None)

    return write


def figure(place, sources):
    style.begin()
    drawn, axes = plt.subplots()
    axes.plot(NOISE[:500])
    try:
        style.save(drawn, "caption", SimpleNamespace(**{end: place / f"f.{end}" for end in ENDINGS}))
    finally:
        plt.close(drawn)


def journal(place, sources):
    kept = Journal(place / "j", "key")
    for number in range(100):
        kept.add(str(number), "x" * 1000)


def gguf(place, sources):
    materialise_model({"path": str(sources / "x.gguf")}, place / "m", staging=place / "s", log=lambda _: None)


WRITERS = {
    "frame": lambda place, _: write_frame(place / "t.parquet", pd.DataFrame({"x": NOISE}), {}),
    "csv": lambda place, _: write_csv(place / "t.csv", pd.DataFrame({"x": NOISE})),
    "arrays": lambda place, _: write_arrays(place / "a.safetensors", {"x": NOISE}, {}),
    "manifest": lambda place, sources: write_manifest(place / "manifest", [sources / "rows.txt"] * 100),
    "data set": lambda place, sources: materialise_dataset({"path": str(sources / "rows.txt")}, place / "d"),
    "shuffled control": control("shuffled"), "reinitialised control": control("reinitialised"),
    "gguf": gguf, "journal": journal, "figure": figure,
}  # fmt: skip


@contextlib.contextmanager
def small_files():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", WRITERS)
def test_a_file_that_may_not_grow_is_said(what, sources, tmp_path):
    with small_files(), pytest.raises(AtlasError, match="is larger than a file may be here"):
        WRITERS[what](tmp_path, sources)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"j"}  # of finished pieces nothing is lost


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said(sources, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        for what, write in WRITERS.items():
            with pytest.raises(AtlasError, match="the disk is full while writing"):
                write(tmp_path, sources)
            assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"j"}, what
            Path(tmp_path, "j").unlink(missing_ok=True)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EACCES])
def test_errors_of_other_libraries_are_known_by_their_number(number, tmp_path):
    with pytest.raises(AtlasError, match="x"), disk_errors(tmp_path / "x"):
        raise RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})")
    with pytest.raises(RuntimeError), disk_errors(tmp_path / "x"):
        raise RuntimeError("something else")
