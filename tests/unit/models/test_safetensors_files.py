"""Headers of safetensors files that lie."""

import json
import struct

import pytest

from atlas.errors import AtlasError
from atlas.models.safetensors_files import read_header

ONE = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
TWO = {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]}


def write(path, header):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    return path


def test_a_right_header_is_read(tmp_path):
    found = read_header(write(tmp_path / "x", {"__metadata__": {"a": "b"}, "two": TWO, "one": ONE}))
    assert [(tensor.name, tensor.shape, tensor.end - tensor.begin) for tensor in found] == [
        ("one", (2, 2), 16),
        ("two", (2,), 8),
    ]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"one": ONE, "two": {**TWO, "data_offsets": [8, 16]}}, "is too long|begins at byte"),
        ({"one": {**ONE, "data_offsets": [8, 24]}, "two": {**TWO, "data_offsets": [0, 8]}, "x": TWO}, "begins at byte"),
        ({"one": ONE, "two": {**TWO, "shape": [0], "data_offsets": [24, 24]}}, "begins at byte"),
        ({"one": ONE, "two": {**TWO, "dtype": "F16"}}, "does not fill 8 bytes"),
        ({"one": ONE, "two": {**TWO, "shape": [3]}}, "does not fill 8 bytes"),
        ({"one": ONE, "two": {**TWO, "shape": [2**62, 2**62]}}, "does not fill 8 bytes"),
        ({"one": ONE, "two": {**TWO, "shape": [-1, -2]}}, "no whole numbers"),
        ({"one": ONE, "two": {**TWO, "shape": [2.0]}}, "no whole numbers"),
        ({"one": ONE, "two": {**TWO, "shape": [True, 2]}}, "no whole numbers"),
        ({"one": ONE, "two": {**TWO, "shape": 2}}, "unreadable safetensors header"),
        ({"one": ONE, "two": {**TWO, "data_offsets": [16]}}, "unreadable safetensors header"),
        ({"one": ONE, "two": {**TWO, "dtype": ["F32"]}}, "unreadable safetensors header|no whole numbers"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xff", "unreadable safetensors header"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, words):
    with pytest.raises(AtlasError, match=words):
        read_header(write(tmp_path / "x", header))
