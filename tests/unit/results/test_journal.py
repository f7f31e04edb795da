"""The journal of finished pieces: a cut takes the piece that it cut, and nothing else."""

import json

import pytest

from atlas.errors import AtlasError
from atlas.results.journal import Journal

KEY = {"model": "tiny", "options": [1, None]}
PIECES = {"q1": ["Zürich", 1], "q2": ["一二三四", 2], "q3": [None, "\ud83d"]}


@pytest.fixture
def path(tmp_path):
    journal = Journal(tmp_path / "answers.jsonl", KEY)
    for name, value in PIECES.items():
        journal.add(name, value)
    return journal.path


def test_pieces_come_back_and_the_file_is_left_alone(path):
    before = path.read_bytes(), path.stat().st_ino
    assert Journal(path, KEY).pieces == PIECES
    assert (path.read_bytes(), path.stat().st_ino) == before


def test_another_key_starts_anew(path):
    assert Journal(path, {**KEY, "model": "other"}).pieces == {}
    assert Journal(path, KEY).pieces == {}


@pytest.mark.parametrize("ascii_", [True, False], ids=["as written", "as written before"])
def test_every_cut_costs_the_piece_that_it_cut(path, ascii_):
    """At each byte, also inside of characters."""
    lines = [json.dumps(line, ensure_ascii=ascii_) for line in (["q1", "一二"], ["q2", "三四"])]
    head = path.read_bytes().split(b"\n")[0]
    whole = b"\n".join([head, *(line.encode() for line in lines), b""])
    for end in range(len(head) + 1, len(whole) + 1):
        path.write_bytes(whole[:end])
        journal = Journal(path, KEY)
        kept = whole[:end].count(b"\n") - 1
        assert list(journal.pieces) == ["q1", "q2"][:kept], end
        journal.add("q9", "new")
        assert Journal(path, KEY).pieces == {**dict(map(json.loads, lines[:kept])), "q9": "new"}, end


def test_a_damaged_line_costs_itself_alone(path):
    head, first, second, third, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([head, first, second[:9] + b"\xff" + second[9:], third, b""]))
    assert Journal(path, KEY).pieces == {"q1": PIECES["q1"], "q3": PIECES["q3"]}


def test_a_disk_that_is_full_while_the_file_is_put_right_loses_nothing(path, monkeypatch):
    """The old file stands until the new one does."""
    torn = path.read_bytes() + b'["q4", "half'
    path.write_bytes(torn)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("atlas.disk.os.replace", full)
        with pytest.raises(AtlasError, match="disk is full"):
            Journal(path, KEY)
    assert path.read_bytes() == torn
    assert Journal(path, KEY).pieces == PIECES


def test_it_goes_when_the_result_is_there(path):
    Journal(path, KEY).remove()
    assert not path.exists()
