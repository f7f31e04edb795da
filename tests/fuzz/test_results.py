"""Results, records and journals with flipped bits, cut tails and other files beside them."""

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.models.folder import check_model_folder
from atlas.results.files import check_seal, read_arrays, read_frame, write_arrays, write_frame
from atlas.results.journal import Journal
from atlas.results.provenance import NAME, check_files, file_record, read_provenance, write_provenance
from hostile import Refused, answer, damaged, examples, files_below, nasty_texts, values

FRAME = pd.DataFrame({"id": ["a", "b"], "n": [1, 2], "x": [0.5, np.nan]})
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], dtype=np.int32)}
TOLD = {"options": {"seed": 0, "text": "Zürich"}, "dataset": {"rows": 2}}


@cache
def results():
    with tempfile.TemporaryDirectory() as place:
        write_frame(Path(place, "x.parquet"), FRAME, TOLD)
        write_arrays(Path(place, "x.safetensors"), ARRAYS, TOLD)
        return files_below(place)


@examples(60, 0.05)
@given(st.data())
def test_a_result_with_another_byte_is_refused(data):
    name = data.draw(st.sampled_from(sorted(results())))
    changed = data.draw(damaged(results()[name]))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name)
        path.write_bytes(changed)
        found = answer(read_frame if path.suffix == ".parquet" else read_arrays, path)
        assert isinstance(found, Refused) == (changed != results()[name])
        if changed != results()[name]:
            with pytest.raises(AtlasError):
                check_seal(path)


@cache
def folder():
    """{name: bytes} of a folder with its record, as a model's and a data set's are."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "a.txt").write_text("one\n")
        Path(place, "b").mkdir()
        Path(place, "b", "c.jsonl").write_text("{}\n")
        record = {"source": {"path": "x"}, "notes": ["Zürich"], "files": file_record(Path(place))}
        write_provenance(Path(place), record)
        return files_below(place)


@examples(100, 0.05)
@given(st.data())
def test_a_folder_with_another_byte_is_refused(data):
    files = dict(folder())
    name = data.draw(st.sampled_from([NAME, NAME, NAME, *files]))
    match data.draw(st.sampled_from(["bytes", "bytes", "bytes", "bit", "drop", "add"])):
        case "bytes":
            files[name] = data.draw(damaged(files[name]))
        case "bit":
            content = bytearray(files[name])
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            files[name] = bytes(content)
        case "drop":
            del files[name]
        case "add":
            files[data.draw(st.sampled_from(["new.json", "b/new.txt", "b/b/x"]))] = b"new"
    with tempfile.TemporaryDirectory() as place:
        for path, content in files.items():
            Path(place, path).parent.mkdir(parents=True, exist_ok=True)
            Path(place, path).write_bytes(content)
        every = [path for path in Path(place).rglob("*") if path.is_file() and path.name != NAME]
        for check in (
            lambda: check_model_folder(Path(place), full=True),
            lambda: (read_provenance(Path(place)), check_files(Path(place), every)),
        ):
            assert isinstance(answer(check), Refused) == (files != folder())


pieces = st.dictionaries(nasty_texts, values, max_size=5)


@examples(60, 0.03)
@given(pieces, st.data())
def test_a_torn_journal_keeps_all_whole_pieces(held, data):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "x.journal")
        journal = Journal(path, "key")
        begins = [path.stat().st_size]
        for name, value in held.items():
            journal.add(name, value)
            begins.append(path.stat().st_size)
        cut = data.draw(st.integers(0, begins[-1]))
        path.write_bytes(path.read_bytes()[:cut] + data.draw(st.sampled_from([b"", b"\xff", b"\0\0\0", b"{"])))
        again = answer(Journal, path, "key")
        whole = [name for name, end in zip(held, begins[1:], strict=True) if end <= cut]
        assert [name for name in held if name in again][: len(whole)] == whole
        assert all(json.dumps(again[name]) == json.dumps(held[name]) for name in whole)
        again.add("more", 1)
        assert Journal(path, "key")["more"] == 1
        assert not [file for file in Path(place).iterdir() if file != path]
