"""Rows out of files in every format, and what is said about files that are not right."""

import gzip
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from atlas.data.readers import iterate_rows, read_rows
from atlas.errors import AtlasError

ROWS = [{"id": "a", "text": 'first, with "quotes"'}, {"id": "b", "text": "zwei\u2028Zeilen ä"}]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_all(folder):
    table = pa.Table.from_pylist(ROWS)
    yield write(folder / "a.jsonl", jsonl(ROWS)), "auto"
    yield write(folder / "bom.jsonl", b"\xef\xbb\xbf" + jsonl(ROWS).encode()), "auto"
    yield write(folder / "a.json", json.dumps(ROWS, indent=1)), "auto"
    yield write(folder / "lines.json", jsonl(ROWS)), "auto"
    yield write(folder / "array.txt", json.dumps(ROWS)), "json"
    yield write(folder / "a.jsonl.gz", gzip.compress(jsonl(ROWS).encode())), "auto"
    yield write(folder / "a.csv", 'id,text\na,"first, with ""quotes"""\nb,zwei\u2028Zeilen ä\n'), "auto"
    yield write(folder / "crlf.csv", 'id,text\r\na,"first, with ""quotes"""\r\nb,zwei\u2028Zeilen ä\r\n'), "auto"
    yield write(folder / "a.tsv", 'id\ttext\na\t"first, with ""quotes"""\nb\tzwei\u2028Zeilen ä\n'), "auto"
    yield write(folder / "unknown.dat", jsonl(ROWS)), "jsonl"
    parquet.write_table(table, folder / "a.parquet")
    yield folder / "a.parquet", "auto"
    for name, new in (("stream.arrow", pa.ipc.new_stream), ("file.arrow", pa.ipc.new_file)):
        with new(folder / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
        yield folder / name, "auto"


def test_every_format_gives_the_same_rows(tmp_path):
    for path, format in write_all(tmp_path):
        assert list(read_rows(path, format)) == list(enumerate(ROWS)), path.name


def test_json_documents(tmp_path):
    """An array of pairs, and a mapping of records, whose keys become a column."""
    pairs = write(tmp_path / "pairs.json", json.dumps([["Rome", "Italy"], ["Oslo", 7]], indent=1))
    expected = [(0, {"source": "Rome", "target": "Italy"}), (1, {"source": "Oslo", "target": 7})]
    assert list(read_rows(pairs)) == list(read_rows(pairs, "json")) == expected
    records = {"q1": {"text": "a", "key": "q1"}, "q2": {"text": "b\u2028c"}}
    expected = [(number, {"key": key, **values}) for number, (key, values) in enumerate(records.items())]
    path = write(tmp_path / "records.json", json.dumps(records, indent=1))
    assert list(read_rows(path)) == list(read_rows(path, "json")) == expected
    line = write(tmp_path / "line.json", json.dumps(records))
    assert list(read_rows(line, "json")) == expected
    assert list(read_rows(line, "jsonl")) == [(0, records)]
    for content, message in (('"x"', "other.json is a text"), ("", "other.json has no rows"), ("[]", "has no rows")):
        with pytest.raises(AtlasError, match=message):
            list(read_rows(write(tmp_path / "other.json", content), "json"))


def test_plain_lines(tmp_path):
    path = write(tmp_path / "a.txt", "first\r\n\r\nthird\n\n")
    assert [values["text"] for _, values in read_rows(path)] == ["first", "", "third"]


def test_other_encodings(tmp_path):
    path = write(tmp_path / "a.csv", "text\nKäse\n".encode("latin-1"))
    assert list(read_rows(path, encoding="latin-1")) == [(0, {"text": "Käse"})]
    path = write(tmp_path / "b.jsonl", '{"text": "Käse"}\n'.encode("utf-16"))
    assert list(read_rows(path, encoding="utf-16")) == [(0, {"text": "Käse"})]


def test_shards_are_read_in_order(tmp_path):
    for shard in (1, 0):
        write(tmp_path / f"train-0000{shard}-of-00002.jsonl", jsonl([ROWS[shard]]))
    write(tmp_path / "provenance.json", "{}")
    write(tmp_path / "README.md", "#")
    assert list(read_rows(tmp_path)) == list(enumerate(ROWS))
    (tmp_path / "train-00000-of-00002.jsonl").unlink()
    write(tmp_path / "train-00002-of-00003.jsonl", jsonl(ROWS))
    with pytest.raises(AtlasError, match="holds 2 data files"):
        list(read_rows(tmp_path))


def test_missing_shard(tmp_path):
    for shard in (0, 2):
        write(tmp_path / f"train-0000{shard}-of-00003.jsonl", jsonl(ROWS))
    with pytest.raises(AtlasError, match="holds 2 of 3 shards of train"):
        list(read_rows(tmp_path))


BAD = {
    "bad json": ("a.jsonl", '{"text": "x"}\n{"text": }\n', r"a\.jsonl line 2 is not valid JSON"),
    "json not an object": ("a.jsonl", '{"text": "x"}\n[1]\n', r"a\.jsonl line 2 is not a JSON object but a list"),
    "pretty json": ("a.jsonl", '{\n"text": "x"\n}\n', r"a\.jsonl line 1 is not valid JSON .*`format: json`"),
    "one pretty record": ("a.json", '{\n"text": "x"\n}\n', r"a\.json row 0 \(key 'text'\) is not a record but a text"),
    "a mapping on one line": (
        "a.json",
        '{"a": {"text": "x"}}',
        r"a\.json is one line .* set `format` to json or jsonl",
    ),
    "a mapping cut off": ("a.json", '{\n"a": {"text": "x"},\n', r"a\.json line 1 is not valid JSON"),
    "a key twice": ("a.jsonl", '{"text": "x", "text": "y"}', r"a\.jsonl line 1: the key 'text' stands twice"),
    "a record twice": ("a.json", '{\n"a": {},\n"a": {}\n}', r"a\.json: the key 'a' stands twice"),
    "another key inside": ("a.json", '{\n"a": {"key": "b"}\n}', r"a\.json row 0 .* key 'a' and has another 'key', 'b'"),
    "a triple": ("a.json", '[["a", "b"], ["a", "b", "c"]]', r"a\.json row 1 has 3 parts, but a pair has 2"),
    "pairs and records": ("a.json", '[["a", "b"], {"a": "b"}]', r"a\.json row 1 is a JSON object, but .* are pairs"),
    "bad array": ("a.json", '[{"text": "x"},\n{"text"]', r"a\.json line 2 is not valid JSON"),
    "array of texts": ("a.json", '[{"text": "x"}, "y"]', r"a\.json row 1 is not a JSON object but a text"),
    "encoding": ("a.jsonl", b'{"text": "x"}\n{"text": "K\xe4se"}\n', r"a\.jsonl line 2 is not utf-8: byte 25 is 0xe4"),
    "encoding of lines": ("a.txt", b"x\n\xff\xfe\n", r"a\.txt line 2 is not utf-8"),
    "short csv row": ("a.csv", "id,text\na,b\nc\n", r"a\.csv line 3 has 1 fields where the header has 2"),
    "long csv row": ("a.csv", 'id,text\na,"b\nc"\nd,e,f\n', r"a\.csv line 4 has 3 fields"),
    "open quote": ("a.csv", 'id,text\na,"b\n', r"a\.csv line 2 is not valid CSV"),
    "twin columns": ("a.csv", "text,text\na,b\n", r"a\.csv line 1: the column name 'text' stands there twice"),
    "no rows": ("a.csv", "id,text\n", r"a\.csv has no rows"),
    "empty": ("a.jsonl", "\n\n", r"a\.jsonl has no rows"),
    "not parquet": ("a.parquet", "PAR1 no", r"a\.parquet is not a complete parquet file"),
    "empty parquet": ("a.parquet", "", r"a\.parquet is not a complete parquet file"),
    "not arrow": ("a.arrow", "nothing of the kind", r"a\.arrow is not a complete Arrow file"),
    "empty arrow": ("a.arrow", "", r"a\.arrow is not a complete Arrow file"),
    "not gzip": ("a.csv.gz", "id,text\n", r"a\.csv\.gz is not a complete gzip file"),
    "unknown ending": ("a.xyz", "x", r"a\.xyz: the format cannot be told from the name"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_named(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(AtlasError, match=message):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "file.arrow"])
def test_cut_off_binary_files(tmp_path, name):
    list(write_all(tmp_path))
    whole = (tmp_path / name).read_bytes()
    write(tmp_path / name, whole[: len(whole) * 2 // 3])
    with pytest.raises(AtlasError, match=rf"{name} is not a complete"):
        list(read_rows(tmp_path / name))


def test_unknown_format_encoding_and_path(tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl(ROWS))
    with pytest.raises(AtlasError, match="format 'xml' is unknown"):
        list(read_rows(path, "xml"))
    with pytest.raises(AtlasError, match="encoding 'utf8x' is unknown"):
        list(read_rows(path, encoding="utf8x"))
    with pytest.raises(AtlasError, match=r"none\.csv does not exist"):
        list(read_rows(tmp_path / "none.csv"))


def test_errors_of_the_consumer_pass_through(tmp_path):
    list(write_all(tmp_path))

    def consume():
        for _ in read_rows(tmp_path / "a.parquet"):
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        consume()


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"version": 2, "data": ROWS}, "data"),
        ({"data": {"rows": ROWS}, "version": 2}, "data.rows"),
        ({"data.rows": ROWS}, "data.rows"),
    ],
)
def test_records_under_a_key_of_a_document(tmp_path, document, key):
    for name, content in (("a.json", json.dumps(document, indent=1)), ("line.json", json.dumps(document))):
        path = write(tmp_path / name, content)
        assert [row.values for row in iterate_rows(path, records=key)] == ROWS
    packed = write(tmp_path / "a.json.gz", gzip.compress(json.dumps(document).encode()))
    assert [row.values for row in iterate_rows(packed, records=key)] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "key", "message"),
    [
        ("a.json", '{"data": []}', "dta", r"has no key 'dta' \(nearest: data\): correct `records`"),
        ("a.json", '{"data": {"x": 1}}', "data.rows", "has no key 'rows' in 'data'"),
        ("a.json", '{"data": 3}', "data", "'data' is a number, not a list of records"),
        ("a.json", '{"data": [1]}', "data", "row 0 is not a JSON object but a number"),
        ("a.json", '{"data": []}', "data", "has no rows"),
        ("a.json", "[]", "data", "the document is a list, in which `records: data` finds nothing"),
        ("a.json", '{"data": [], "data": []}', "data", "the key 'data' stands twice"),
        ("a.csv", "data\n1\n", "data", "a.csv is no JSON document, in which `records: data` would be a key"),
        ("a.json", '{\n"version": 2, "data": [{}]}', None, "the list under 'data' is read with `records: data`"),
    ],
)
def test_records_that_are_not_there(tmp_path, name, content, key, message):
    with pytest.raises(AtlasError, match=message):
        list(iterate_rows(write(tmp_path / name, content), records=key))
