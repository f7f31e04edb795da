"""Results on disk: contract, provenance, atomic replacement, the same bytes for the same content."""

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.published import read_table, write_table
from atlas.analyses.registry import TABLES
from atlas.errors import AtlasError
from atlas.results.files import read_arrays, read_frame, read_provenance, replacing, write_arrays, write_frame
from atlas.results.tables import CSV_LIMIT, concatenate, write_csv, write_manifest

ROW = {
    "model": "m", "dataset": "d", "input": "natural", "layer": 0, "head": 1, "alpha": 0.5, "sink_rate": 1.0,
    "rate_low": 0.9, "rate_high": 1.0, "epsilon": 0.3, "length": 8, "bos": False, "sequences": 4,
}  # fmt: skip


def test_table_comes_back_with_types_and_provenance(tmp_path):
    path = tmp_path / "deep" / "sinks.parquet"
    write_table(path, pd.DataFrame([ROW, {**ROW, "head": 2}]), "sinks", {"options": {"epsilon": 0.3}})
    frame = read_table(path, "sinks")
    assert frame["head"].tolist() == [1, 2]
    assert frame["layer"].dtype == "int32"
    assert read_provenance(path) == {"options": {"epsilon": 0.3}}


@pytest.mark.parametrize("change", [{"alpha": None}, {"extra": 1}])
def test_table_off_its_contract_is_refused(tmp_path, change):
    row = {**ROW, **change}
    row = {key: value for key, value in row.items() if value is not None}
    with pytest.raises(AtlasError, match=r"alpha|extra"):
        write_table(tmp_path / "t.parquet", pd.DataFrame([row]), "sinks", {})
    assert not list(tmp_path.iterdir())


def test_writing_again_gives_the_same_bytes(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3).T, "a": np.ones(3, np.int32)}
    document = {"z": 1, "a": {"y": [1, 2], "x": "Ü"}}
    contents = []
    for order in (sorted(arrays), sorted(arrays, reverse=True)):
        write_arrays(tmp_path / "x.safetensors", {name: arrays[name] for name in order}, document)
        write_table(tmp_path / "x.parquet", pd.DataFrame([ROW]), "sinks", dict(reversed(document.items())))
        contents.append([(tmp_path / name).read_bytes() for name in ("x.safetensors", "x.parquet")])
        document = dict(reversed(document.items()))
    assert contents[0] == contents[1]
    found, provenance = read_arrays(tmp_path / "x.safetensors")
    assert provenance == document
    np.testing.assert_array_equal(found["b"], arrays["b"])  # an array that is not contiguous is stored in its order


def test_failure_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("cut", [10, 200])
def test_cut_off_files_are_named(tmp_path, cut):
    write_frame(tmp_path / "x.parquet", pd.DataFrame({"a": range(500)}), {})
    write_arrays(tmp_path / "x.safetensors", {"a": np.arange(500)}, {})
    for name, read in (("x.parquet", read_frame), ("x.safetensors", read_arrays)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(AtlasError, match=f"{name}.*delete it and run again"):
            read(path)


def test_concatenate_keeps_every_source(tmp_path):
    for name in ("one", "two"):
        write_table(tmp_path / f"{name}.parquet", pd.DataFrame([{**ROW, "model": name}]), "sinks", {"name": name})
    frame, sources = concatenate([tmp_path / "one.parquet", tmp_path / "two.parquet"], TABLES["sinks"])
    assert frame["model"].tolist() == ["one", "two"]
    assert [document["name"] for document in sources.values()] == ["one", "two"]


def test_csv_above_the_limit_says_so_instead(tmp_path):
    frame = pd.DataFrame({"text": ["x" * 1000] * (CSV_LIMIT // 1000 + 1)})
    write_csv(tmp_path / "big.csv", frame)
    assert (tmp_path / "big.csv").read_text().startswith(f"not written: {len(frame)} rows")
    write_csv(tmp_path / "small.csv", frame.head(3))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "small.csv"), frame.head(3), check_dtype=False)


def test_manifest_is_what_sha256sum_reads(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pdf").write_text("a")
    write_manifest("manifest.sha256", ["a.pdf"])
    assert subprocess.run(["sha256sum", "-c", "manifest.sha256"]).returncode == 0
    (tmp_path / "a.pdf").write_text("b")
    assert subprocess.run(["sha256sum", "-c", "manifest.sha256"]).returncode != 0


def test_every_column_of_every_table_is_documented():
    from places import ROOT

    text = (ROOT / "docs" / "tables.md").read_text()
    for table, columns in TABLES.items():
        section = text.split(f"\n## {table}\n")[1].split("\n## ")[0]
        documented = {
            name.strip(" `")
            for line in section.splitlines()
            if line.startswith("| `")
            for name in line.split("|")[1].split(",")
        }
        assert documented == set(columns), table


def test_provenance_of_a_foreign_file_is_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(AtlasError, match="no provenance"):
        read_provenance(tmp_path / "x.parquet")


def damages():
    """Places in a file: the first byte, the header, the data, the footer, the provenance, the seal itself."""
    return (0, 40, 0.3, 0.5, 0.9, -30, -9, "needle", "seal")


@pytest.mark.parametrize("where", damages())
@pytest.mark.parametrize("name", ["x.parquet", "x.safetensors"])
def test_a_changed_byte_anywhere_is_noticed_and_named(tmp_path, name, where):
    path = tmp_path / name
    document = {"model": {"note": "needle in the provenance"}}
    if name == "x.parquet":
        write_frame(path, pd.DataFrame({"a": np.random.default_rng(0).normal(size=500)}), document)
    else:
        write_arrays(path, {"a": np.random.default_rng(0).normal(size=500)}, document)
    content = bytearray(path.read_bytes())
    if where == "needle":
        position = content.rindex(b"needle")
    elif where == "seal":
        position = content.rindex(b"file_sha256") + 25
    else:
        position = int(where * len(content)) if isinstance(where, float) else where
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(AtlasError, match=rf"{name} .*delete it and run again"):
        (read_frame if name == "x.parquet" else read_arrays)(path)


def test_seal_is_the_sha256_of_the_file_with_zeros_in_its_place(tmp_path):
    import hashlib
    import re

    path = tmp_path / "x.parquet"
    write_frame(path, pd.DataFrame({"a": [1]}), {"options": {}})
    content = path.read_bytes()
    written = re.findall(rb'file_sha256": "([0-9a-f]{64})', content)
    assert len(written) == 1
    assert hashlib.sha256(content.replace(written[0], b"0" * 64)).hexdigest() == written[0].decode()
    assert read_provenance(path) == {"options": {}}


def test_foreign_tables_are_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(AtlasError, match=r"x\.parquet is not readable \(it carries no checksum of ours\)"):
        read_frame(tmp_path / "x.parquet")
