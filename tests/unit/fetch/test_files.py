"""Names and paths that somebody else, or a user, wrote."""

import os

import pytest

from atlas.errors import AtlasError
from atlas.fetch.files import below, existing, plain_name
from configurations import check, merged, tiny


@pytest.mark.parametrize("name", ["a.jsonl", "a b.json", "ä/一.csv", "a/b/c", "x" * 250, "a.b..c"])
def test_plain_paths_are_taken(tmp_path, name):
    assert below(tmp_path, name, "x") == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/a", "a//b", "a/", "a/../b", "./a", "a\\b", "a\0b", "a\nb", "\x1b[2J", "\ud800",
     "x" * 251, "provenance.json"],
)  # fmt: skip
def test_names_that_would_be_stored_elsewhere_otherwise_or_not_at_all_are_refused(tmp_path, name):
    for check_it in (lambda: below(tmp_path, name, "x"), lambda: plain_name(name, "x")):
        with pytest.raises(AtlasError, match="x would be stored as"):
            check_it()


def hostile_paths(folder):
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "broken").symlink_to(folder / "nowhere")
    return {
        str(folder / "pipe"): "is a pipe or a device", "/dev/null": "is a pipe or a device",
        "~no-such-user/x": "does not exist|home",
        str(folder / "loop"): "cannot be used", str(folder / "broken"): "does not exist",
        str(folder / ("x" * 300)): "too long",
        str(folder / "pipe" / "x"): "does not exist", "a\0b": "null",
    }  # fmt: skip


def test_paths_that_cannot_be_read_are_refused_at_the_door_and_behind_it(tmp_path):
    for path, words in hostile_paths(tmp_path).items():
        with pytest.raises(AtlasError, match=words):
            existing(path, "data path")
        base = {"datasets": {"passages": {"kind": "text", "source": {"path": path}}}}
        with pytest.raises(AtlasError, match=r"datasets\.passages\.source\.path: .*(" + words + ")"):
            check("{}", merged(tiny(), base))
    assert existing(tmp_path, "data path") == tmp_path
