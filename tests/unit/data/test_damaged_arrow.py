"""Damaged Arrow and parquet files are read as they stand or refused in a sentence; the interpreter outlives them."""

import datetime
import gzip
import io
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.data.readers import read_rows
from atlas.errors import AtlasError

KINDS = ("file", "stream", "parquet")
TRIES = 400


def written(kind: str) -> bytes:
    rows = range(40)
    table = pa.table({
        "id": [f"q{i}" for i in rows], "text": [f"Zürich {i} 一二" * 3 for i in rows],
        "answers": [[f"a{i}", "b"] for i in rows], "when": [datetime.datetime(2020, 1, 1 + i % 28) for i in rows],
        "nested": [{"x": i, "y": None} for i in rows],
        "coded": pa.array([["a", "b"][i % 2] for i in rows]).dictionary_encode(),
    })  # fmt: skip
    stream = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, stream)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(stream, table.schema) as writer:
            writer.write_table(table, max_chunksize=16)
    return stream.getvalue()


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut off, or with some bytes that are others."""
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))]
    found = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        found[draw.randrange(len(found))] = draw.choice([0, 255, 127, 128, draw.randrange(256)])
    return bytes(found)


def attack(kind: str, folder: Path, tries: int) -> dict[str, int]:
    """How often damaged files of a kind were read, and refused."""
    data, draw, found = written(kind), random.Random(kind), {"read": 0, "refused": 0}
    path = folder / ("x.parquet" if kind == "parquet" else "x.arrow")
    for _ in range(tries):
        path.write_bytes(damaged(data, draw))
        try:
            list(read_rows(path))
            found["read"] += 1
        except AtlasError:
            found["refused"] += 1
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_a_sentence_and_never_a_crash(kind, tmp_path):
    """In a process of its own, which a wrong read of memory would end."""
    folders = [str(Path(__file__).parents[3] / "scripts"), str(Path(__file__).parent)]
    code = f"import sys; sys.path[:0] = {folders}\nfrom pathlib import Path\nimport {Path(__file__).stem} as test\n"
    code += f"print(test.attack({kind!r}, Path({str(tmp_path)!r}), {TRIES}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = eval(done.stdout)
    assert found["refused"] > TRIES // 2
    assert found["read"] > TRIES // 50  # damage to what is only text, which no reader can tell


def test_a_date_out_of_range_is_named(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": ["a"], "when": pa.array([2**62], pa.timestamp("us"))}), path)
    with pytest.raises(AtlasError, match=r"x\.parquet holds a value that cannot be read"):
        list(read_rows(path))


@pytest.mark.parametrize("place", [12, 20, -6])
def test_damaged_gzip_is_named(tmp_path, place):
    data = bytearray(gzip.compress("\n".join(f"line {i}" for i in range(200)).encode()))
    data[place] ^= 0xFF
    path = tmp_path / "x.txt.gz"
    path.write_bytes(bytes(data))
    with pytest.raises(AtlasError, match="not a complete gzip file"):
        list(read_rows(path))
