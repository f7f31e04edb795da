"""Data files of every kind and format, right, almost right and damaged."""

import csv
import gzip
import io
import json
import math
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from atlas.data.kinds import KINDS, prepare
from atlas.data.readers import read_rows
from atlas.results.files import read_frame, write_frame
from hostile import Refused, answer, damaged, examples, files_below, nasty_texts, numbers, values

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow", "stream", "txt")
words = st.one_of(st.text("abc äß一 \n,\"'\t", min_size=1, max_size=12), nasty_texts)
ids = st.one_of(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 5), nasty_texts)
# kind -> what its columns hold, mostly
FIELDS = {
    "prompts": {"id": ids, "text": words},
    "text": {"id": ids, "text": words},
    "membership": {"id": ids, "text": words, "label": st.one_of(st.sampled_from([0, 1, "0", "1", True]), numbers)},
    "qa": {
        "id": ids,
        "question": words,
        "answers": st.one_of(st.lists(words, max_size=3), words),
        "question_spans": st.one_of(st.none(), st.lists(st.lists(st.integers(-1, 9), max_size=3), max_size=2)),
    },
    "marked": {
        "id": ids,
        "prompt": words,
        "answer": words,
        "spans": st.dictionaries(
            st.one_of(st.sampled_from(["label", "text", "a b"]), nasty_texts),
            st.one_of(st.none(), st.lists(st.lists(st.integers(-1, 9), max_size=3), max_size=2)),
            max_size=2,
        ),
    },
    "depth": {
        "id": ids,
        "depth": st.one_of(st.integers(0, 4), numbers),
        "question": words,
        "answer": words,
        "predecessors": st.lists(ids, max_size=2),
        "score_x": st.one_of(st.integers(1, 5), numbers, st.none()),
    },
    "relations": {
        "relation": st.sampled_from(["r", "s", "t u"]),
        "category": st.sampled_from(["Knowledge", "Linguistic", "Algorithmic", "x"]),
        "source": words,
        "target": words,
    },
}


@st.composite
def tables(draw, kind):
    """Rows of a kind, some with a column more, less, or of any value."""
    rows = []
    for _ in range(draw(st.integers(0, 5))):
        row = {name: draw(strategy) for name, strategy in FIELDS[kind].items()}
        match draw(st.sampled_from(["plain"] * 8 + ["less", "more", "other"])):
            case "less":
                row.pop(draw(st.sampled_from(sorted(row))))
            case "more":
                row[draw(nasty_texts)] = draw(values)
            case "other":
                row[draw(st.sampled_from(sorted(row)))] = draw(values)
        rows.append(row)
    return rows


def written(rows, format):
    """The bytes of a file with these rows; None where the format cannot hold them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        match format:
            case "jsonl":
                return "".join(json.dumps(row) + "\n" for row in rows).encode()
            case "json":
                return json.dumps(rows, ensure_ascii=False).encode()
            case "txt":
                return "\n".join(str(row.get("text", row)) for row in rows).encode()
            case "csv" | "tsv":
                stream = io.StringIO(newline="")
                writer = csv.writer(stream, delimiter="," if format == "csv" else "\t", lineterminator="\n")
                writer.writerow(names)
                cells = ([row.get(name) for name in names] for row in rows)
                writer.writerows([json.dumps(c) if isinstance(c, list | dict) else c for c in line] for line in cells)
                return stream.getvalue().encode()
        table, stream = pa.Table.from_pylist(rows), io.BytesIO()
        if format == "parquet":
            pq.write_table(table, stream)
        else:
            with (pa.ipc.new_file if format == "arrow" else pa.ipc.new_stream)(stream, table.schema) as writer:
                writer.write_table(table)
        return stream.getvalue()
    except (UnicodeError, pa.ArrowException, OverflowError, TypeError, ValueError, csv.Error):
        return None


def suffix(format):
    return "arrow" if format == "stream" else format


def separated(text, separator):
    """The cells of each line, sign by sign as RFC 4180 says; of files that are right."""
    lines, line, cell, at = [], [], "", 0
    while at < len(text):
        sign = text[at]
        if sign == '"' and not cell:
            while True:  # up to the quote that is not doubled
                end = text.index('"', at + 1)
                cell += text[at + 1 : end]
                at = end + 1
                if text[at : at + 1] != '"':
                    break
                cell += '"'
            continue
        at += 1
        if sign == separator:
            line, cell = [*line, cell], ""
        elif sign in "\r\n":
            at += text[at - 1 : at + 1] == "\r\n"
            lines, line, cell = [*lines, [*line, cell]], [], ""
        else:
            cell += sign
    return [*lines, [*line, cell]] if line or cell else lines


def independent(path, format):
    """The rows of a file by another way than the product's, which reads whatever is right as it stands."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    match format:
        case "jsonl" | "json":
            text = data.decode("utf-8-sig")
            whole = json.JSONDecoder()
            found, at = [], 0
            while text[at:].strip():
                at += len(text[at:]) - len(text[at:].lstrip())
                value, at = whole.raw_decode(text, at)
                found += value if isinstance(value, list) else [value]
            return found
        case "csv" | "tsv":
            header, *lines = separated(data.decode("utf-8-sig"), "," if format == "csv" else "\t")
            return [dict(zip(map(str.strip, header), line, strict=True)) for line in lines if line != [""]]
        case "txt":
            lines = data.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n")
            return [{"text": line} for line in lines.split("\n")]
        case "parquet":
            return pq.read_table(pa.BufferReader(data)).to_pylist()
        case _:
            open_it = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
            return open_it(data).read_all().to_pylist()


def same(ours, theirs):
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours):
        return math.isnan(theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def check_prepared(kind, frame, report, folder):
    """What a table of a kind must be, said without the kind's schema."""
    assert 0 < len(frame) <= report["rows_in_file"]
    assert report["rows_in_file"] - len(frame) == sum(report["dropped"].values())
    for name in ("text", "question", "answer", "source", "target"):
        if name in frame:
            assert all(isinstance(text, str) and text.strip() for text in frame[name])
    if "id" in frame:
        assert frame["id"].is_unique
        assert all(isinstance(text, str) and text for text in frame["id"])
    if kind == "qa":
        assert all(len(a) and all(isinstance(t, str) and t.strip() for t in a) for a in frame["answers"])
    if kind == "marked":
        for prompt, spans in zip(frame["prompt"], frame["spans"], strict=True):
            assert spans
            for name, own in spans.items():
                assert name.replace("_", "a").isalnum()
                assert name not in ("text", "predicting")
                assert all(0 <= begin < end <= len(prompt) for begin, end in own or ())
    if kind == "depth":
        assert frame["depth"].between(1, 3).all()
        depths = dict(zip(frame["id"], frame["depth"], strict=True))
        for depth, below in zip(frame["depth"], frame["predecessors"], strict=True):
            assert all(depths[name] == depth - 1 for name in below)
        for name in frame:
            if name.startswith("score"):
                assert all(math.isfinite(score) for score in frame[name].dropna())
    write_frame(folder / "out.parquet", frame, report)
    kept = read_frame(folder / "out.parquet")
    assert len(kept) == len(frame)
    for name in frame:
        if frame[name].map(type).eq(str).all():
            assert list(kept[name]) == list(frame[name])


@examples(120, 0.2)
@given(st.data())
def test_rows_of_a_kind(data):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    format = data.draw(st.sampled_from(FORMATS))
    content = written(data.draw(tables(kind)), format)
    if content is None:
        return
    if data.draw(st.integers(0, 3)) == 0:
        content = data.draw(damaged(content))
    with tempfile.TemporaryDirectory() as place:
        packed = data.draw(st.booleans()) and format in ("jsonl", "json", "csv", "tsv", "txt")
        path = Path(place, f"x.{suffix(format)}" + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
        entry = data.draw(
            st.sampled_from([{}, {}, {"limit": 2}, {"sample": {"n": 2, "seed": 0}}, {"encoding": "latin-1"}])
        )
        before = files_below(place)
        found = answer(prepare, kind, entry, path)
        assert files_below(place) == before
        if not isinstance(found, Refused):
            check_prepared(kind, *found, Path(place))


@examples(120, 0.2)
@given(st.data())
def test_rows_are_those_of_another_reader(data):
    format = data.draw(st.sampled_from(FORMATS))
    content = written(data.draw(tables(data.draw(st.sampled_from(sorted(KINDS))))), format)
    if content is None:
        return
    if data.draw(st.booleans()):
        content = data.draw(damaged(content))
    with tempfile.TemporaryDirectory() as place:
        packed = data.draw(st.booleans()) and format in ("jsonl", "json", "csv", "tsv", "txt")
        path = Path(place, f"x.{suffix(format)}" + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
        if packed and data.draw(st.booleans()):
            path.write_bytes(data.draw(damaged(path.read_bytes())))
        found = answer(lambda: [values for _, values in read_rows(path)])
        if not isinstance(found, Refused):
            assert same(found, independent(path, format)), (found, independent(path, format))
