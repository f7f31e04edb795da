"""The digest of what a user hands in: its bytes, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from atlas import remembered as sums
from atlas.planning import content as module
from atlas.planning.content import MISSING
from places import ROOT


@pytest.fixture
def content(tmp_path, monkeypatch):
    """content() as a new process would answer; files count as settled at once, and as large from 100 bytes on."""
    monkeypatch.setattr(sums, "_SETTLED_NS", -1)
    monkeypatch.setattr(sums, "LARGE", 100)
    remembered = tmp_path / "results" / "downloads" / "content.json"
    return lambda path, **more: module.content.__wrapped__(path, **{"remembered": remembered, **more})


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that are read."""
    names, read = [], sums.read

    def watched(path, *more):
        names.append(path.name)
        return read(path, *more)

    monkeypatch.setattr(sums, "read", watched)
    return names


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "model"
    (place / "sub").mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "sub" / "tokens.txt").write_text("a\n")
    (place / "weights").write_bytes(b"w" * 1000)
    return place


def test_any_byte_or_name_changes_the_digest_of_a_folder(folder, content):
    seen = [content(folder)]

    def after(change):
        change()
        seen.append(content(folder))

    after(lambda: (folder / "config.json").write_text("{ }"))
    after(lambda: (folder / "sub" / "tokens.txt").write_text("b\n"))
    after(lambda: (folder / "weights").write_bytes(b"w" * 999 + b"v"))
    after(lambda: (folder / "weights").rename(folder / "weight"))
    after(lambda: (folder / "new").write_text(""))
    after(lambda: (folder / "new").unlink() or (folder / "sub" / "new").write_text(""))
    after(lambda: (folder / "sub").rename(folder / "sab"))
    assert len(set(seen)) == len(seen)
    assert all(len(digest) == 16 for digest in seen)


def test_times_hidden_files_and_caches_do_not_count(folder, content, tmp_path):
    before = content(folder)
    for place in (folder, folder / "config.json", folder / "weights"):
        os.utime(place, (1, 2_000_000_000))
    (folder / ".DS_Store").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    assert content(folder) == before
    shutil.copytree(folder, tmp_path / "copy")
    assert content(tmp_path / "copy") == before


def test_a_file_is_its_bytes(tmp_path, content):
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    assert content(tmp_path / "a") == content(tmp_path / "b") != content(tmp_path / "c")
    assert content(tmp_path / "nothing") == MISSING


def test_only_the_files_that_matter_count(folder, content):
    def counts(name):
        return name != "README.md"

    before = content(folder, counts=counts)
    (folder / "README.md").write_text("x")
    assert content(folder, counts=counts) == before != content(folder)


def test_symlinks_are_followed_once_and_broken_ones_named(folder, content, tmp_path):
    (tmp_path / "blob").write_text("one")
    (folder / "linked").symlink_to(tmp_path / "blob")
    first = content(folder)
    (tmp_path / "blob").write_text("two")
    second = content(folder)
    (folder / "round").symlink_to(folder)
    third = content(folder)
    (folder / "broken").symlink_to("nowhere")
    fourth = content(folder)
    (folder / "broken").unlink()
    (folder / "broken").symlink_to("elsewhere")
    assert len({first, second, third, fourth, content(folder)}) == 5
    (tmp_path / "door").symlink_to(folder)
    assert content(tmp_path / "door") == content(folder)


def test_a_pipe_and_a_locked_file_do_not_stop_a_plan(folder, content):
    before = content(folder)
    os.mkfifo(folder / "pipe")
    assert content(folder) != before


def test_a_large_file_is_read_once_until_it_changes(folder, content, opened):
    first = content(folder)
    assert opened == ["config.json", "tokens.txt", "weights"]
    opened.clear()
    assert content(folder) == first
    assert opened == ["config.json", "tokens.txt"]  # small ones are read each time
    facts = (folder / "weights").stat()
    (folder / "weights").write_bytes(b"v" * 1000)
    os.utime(folder / "weights", ns=(facts.st_atime_ns, facts.st_mtime_ns))  # the same size, inode and time
    assert content(folder) != first
    assert opened[-1] == "weights"


def test_an_older_file_in_its_place_is_noticed(folder, content, tmp_path):
    first = content(folder)
    older = tmp_path / "older"
    older.write_bytes(b"o" * 1000)
    os.utime(older, (1, 1))
    older.rename(folder / "weights")
    assert content(folder) != first


def test_a_hard_link_of_our_own_does_not_make_it_read_again(folder, content, opened, tmp_path):
    first = content(folder)
    os.link(folder / "weights", tmp_path / "link")
    opened.clear()
    assert content(folder) == first
    assert "weights" not in opened


def test_a_file_that_was_just_written_is_read_again(folder, content, opened, monkeypatch):
    monkeypatch.setattr(sums, "_SETTLED_NS", 3_000_000_000)
    content(folder)
    content(folder)
    assert opened.count("weights") == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0, "files": {}}', '{"version": 1, "files": {"x": 3}}'])
def test_a_damaged_memory_is_done_without(folder, content, text, tmp_path):
    first = content(folder)
    memory = tmp_path / "results" / "downloads" / "content.json"
    assert list(json.loads(memory.read_text())["files"]) == [str(folder / "weights")]
    memory.write_text(text)
    assert content(folder) == first
    assert list(memory.parent.iterdir()) == [memory]


def test_a_memory_that_cannot_be_written_is_done_without(folder, content, tmp_path):
    (tmp_path / "file").write_text("")
    assert content(folder, remembered=tmp_path / "file" / "content.json") == content(folder)


def test_processes_that_write_at_once_leave_a_whole_memory(tmp_path):
    folders = []
    for number in range(4):
        folders.append(tmp_path / f"model{number}")
        folders[-1].mkdir()
        for part in range(5):
            (folders[-1] / f"{part}").write_bytes(bytes([number, part]) * 1000)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from pathlib import Path\nfrom atlas import remembered as sums\nfrom atlas.planning import content as module\n"
        "sums.LARGE, sums._SETTLED_NS = 100, -1\n"
        "print(module.content(Path(sys.argv[1]), remembered=Path('content.json')))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        for folder in folders
    ]
    said = [process.communicate()[0].strip() for process in started]
    assert len(set(said)) == 4
    files = json.loads((tmp_path / "content.json").read_text())["files"]
    assert 5 <= len(files) <= 20
    assert set(files) <= {str(path) for folder in folders for path in folder.iterdir()}
    assert not list(tmp_path.glob(".content*"))


def test_a_long_reading_is_announced_with_its_size(folder, content, monkeypatch, capsys):
    content(folder)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sums, "SAID_FROM", 500)
    (folder / "weights").write_bytes(b"u" * 1000)
    content(folder)
    assert f"Reading {folder} (0 GB), to notice when it changes" in capsys.readouterr().err
    content(folder)
    assert capsys.readouterr().err == ""


def test_many_small_files_take_no_time_worth_a_word(tmp_path, content):
    for number in range(1000):
        (tmp_path / f"{number}.csv").write_text("source,target\n")
    started = time.process_time()  # of this process: others may run beside it
    content(tmp_path)
    assert time.process_time() - started < 5
