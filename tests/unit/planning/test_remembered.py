import ast
import json
import os
import subprocess
import sys

import pytest

from atlas.planning.library import code_digest, tree_digest
from atlas.planning.remembered import Memory
from places import ROOT


@pytest.fixture
def files(tmp_path):
    """(a source file, a reader)"""
    source, reader = tmp_path / "source.py", tmp_path / "reader.py"
    source.write_text("x = 1\n")
    reader.write_text("read = str\n")
    return source, reader


def memory(files):
    return Memory(files[0].parent / "cache" / "memory.json", [files[1]])


def asked(memory, files, what="length"):
    """(the value, whether it was worked out)"""
    worked = []

    def work():
        worked.append(1)
        return [len(files[0].read_text()), what]

    return memory.value(what, str(files[0]), work), bool(worked)


def test_what_one_run_read_another_knows(files):
    first = memory(files)
    assert asked(first, files) == ([6, "length"], True)
    assert asked(first, files) == ([6, "length"], False)
    first.save()
    assert asked(memory(files), files) == ([6, "length"], False)


@pytest.mark.parametrize("changed", [0, 1])
def test_another_content_and_another_reader_are_read_anew_whatever_the_times_say(files, changed):
    first = memory(files)
    asked(first, files)
    first.save()
    times = files[changed].stat()
    files[changed].write_text(files[changed].read_text().replace("=", "-"))  # as long as before
    os.utime(files[changed], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert asked(memory(files), files)[1]


def test_another_question_is_another_entry(files):
    first = memory(files)
    assert asked(first, files) == ([6, "length"], True)
    assert asked(first, files, "lines") == ([6, "lines"], True)


@pytest.mark.parametrize("content", ["", '{"half": ', "[1]", "\x00"])
def test_a_damaged_memory_is_an_empty_one(files, content):
    first = memory(files)
    asked(first, files)
    first.save()
    first.file.write_text(content)
    assert asked(memory(files), files) == ([6, "length"], True)


def test_what_fails_is_not_remembered(files):
    first = memory(files)
    with pytest.raises(SyntaxError):
        first.value("digest", str(files[0]), lambda: ast.parse("x ="))
    assert asked(first, files, "digest")[1]


def test_a_place_that_cannot_be_written_to_costs_nothing_but_the_time(files):
    (files[0].parent / "cache").write_text("a file, where the folder would be")
    first = memory(files)
    asked(first, files)
    first.save()
    assert asked(memory(files), files)[1]


def test_what_other_branches_read_is_kept_within_bounds(files):
    first = memory(files)
    asked(first, files)
    first.file.parent.mkdir()
    first.file.write_text(json.dumps({str(number): number for number in range(5_000)}))
    second = memory(files)
    asked(second, files)
    second.save()
    kept = json.loads(first.file.read_text())
    assert len(kept) == 2_001
    assert "4999" in kept
    assert "0" not in kept


def test_the_planner_remembers_what_a_file_does(tmp_path):
    source = tmp_path / "source.py"
    script = (
        "import sys; from pathlib import Path; from atlas.planning import library\n"
        "read = library.parsed; calls = []\n"
        "library.parsed = lambda path: calls.append(path) or read(path)\n"
        f"print(library.code_digest(Path({str(source)!r})), len(calls))"
    )
    environment = {"PYTHONPATH": str(ROOT / "scripts"), "PYTHONPYCACHEPREFIX": str(tmp_path / "compiled")}

    def planned(text):
        source.write_text(text)
        command = [sys.executable, "-c", script]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        digest, calls = said.split()
        assert digest == tree_digest(ast.parse(text)) == code_digest_of(text, tmp_path)
        return int(calls)

    assert [planned("x = 1\n"), planned("x = 1\n"), planned("x = 2\n"), planned("x = 1\n")] == [1, 0, 1, 0]


def code_digest_of(text, folder):
    """In this process, by a path that it has not seen."""
    path = folder / f"copy{len(list(folder.iterdir()))}{hash(text)}.py"
    path.write_text(text)
    return code_digest(path)
