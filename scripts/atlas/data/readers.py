"""Rows out of files: JSON, CSV, parquet, Arrow, lines; every problem named with file and place."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.data.json_files import read_any_json, read_json, read_json_lines, read_records
from atlas.data.suffixes import DATA_SUFFIXES
from atlas.data.text_files import read_text
from atlas.errors import AtlasError
from atlas.fetch.files import existing
from atlas.results.provenance import NAME

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("auto", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "lines")
_BY_SUFFIX = {
    ".jsonl": "jsonl", ".json": "any_json", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet",
    ".arrow": "arrow", ".feather": "arrow", ".txt": "lines",
}  # fmt: skip
_SHARD = re.compile(r"(.*?)[-_.](\d{3,5})-of-(\d{3,5})")
# Cells and lines larger than this are no data-set rows but a wrong format; bounds memory too.
csv.field_size_limit(1 << 28)


class Row(NamedTuple):
    """One row and where it stands: number counts the rows from 0, place is that and the line for a message."""

    number: int
    place: str
    values: dict[str, Any]


def read_rows(path: Path, format: str = "auto", encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number from 0, {column: value}) of every row of a file, or of a folder with one data file or its shards.

    format: one of FORMATS; 'auto' goes by the file's ending (.json may be a document or one object a line; json_files).
    Plain lines have the one column `text`. Raises AtlasError, naming file, row and line.
    """
    return ((row.number, row.values) for row in iterate_rows(Path(path), format, encoding))


def iterate_rows(
    path: Path | list[Path], format: str = "auto", encoding: str = "utf-8", records: str | None = None
) -> Iterator[Row]:
    """Like read_rows, but each row knows its place for messages.

    path: a file or folder, or the files themselves, one behind the other.
    records: the key of a JSON document that its records stand under.
    """
    if format not in FORMATS:
        raise AtlasError(f"format {format!r} is unknown: use one of {', '.join(FORMATS)}.")
    try:
        "".encode(encoding)
    except LookupError as error:
        raise AtlasError(f"encoding {encoding!r} is unknown: use a name such as utf-8, latin-1 or cp1252.") from error
    files = path if isinstance(path, list) else data_files(path)
    number = 0
    for file in files:
        for line, values in _found(file, _format_of(file, format), encoding, records):
            where = f"{file.name} row {number}" + (f" (line {line})" if line is not None else "")
            yield Row(number, where, values)
            number += 1
    if not number:
        raise AtlasError(f"{files[0]} has no rows: check the source and `format`.")


def _found(file: Path, format: str, encoding: str, records: str | None) -> Iterator[tuple[int | None, dict[str, Any]]]:
    if records is None:
        return _READERS[format](file, encoding)
    if format not in ("json", "any_json"):
        raise AtlasError(f"{file.name} is no JSON document, in which `records: {records}` would be a key: take it out.")
    return read_records(file, encoding, records)


def data_files(path: Path) -> list[Path]:
    """The file itself; of a folder its one data file, or the shards of one (name-00000-of-00004.parquet, ...).

    Raises AtlasError: nothing there, several data files, an incomplete set of shards.
    """
    if existing(path, "data path").is_file():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and file.name != NAME
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not file.name.upper().startswith(("README", "LICENSE", "LICENCE", "NOTICE", "DATASET_INFO"))
    )  # fmt: skip
    known = [file for file in files if file.name.endswith((*DATA_SUFFIXES, *_BY_SUFFIX))]
    files = known or files
    if len(files) == 1:
        return files
    if not files:
        raise AtlasError(f"data folder {path} is empty: correct `path`.")
    shards = [found for file in files if (found := _SHARD.match(file.relative_to(path).as_posix()))]
    if len(shards) == len(files) and len({(shard[1], shard[3]) for shard in shards}) == 1:
        if len(files) != int(shards[0][3]):
            raise AtlasError(
                f"{path} holds {len(files)} of {int(shards[0][3])} shards of {shards[0][1]}: bring it in again."
            )
        return files
    names = ", ".join(file.relative_to(path).as_posix() for file in files[:5])
    raise AtlasError(
        f"{path} holds {len(files)} data files ({names}{', ...' if len(files) > 5 else ''}): name one under `file`."
    )


def _format_of(file: Path, format: str) -> str:
    if format != "auto":
        return format
    suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise AtlasError(
            f"{file}: the format cannot be told from the name; set `format` to one of {', '.join(FORMATS[1:])}."
        )
    return _BY_SUFFIX[suffix]


def _read_separated(separator: str) -> Callable[[Path, str], Iterator[tuple[int, dict]]]:
    def read(file: Path, encoding: str) -> Iterator[tuple[int, dict]]:
        reader = csv.reader(io.StringIO(read_text(file, encoding), newline=""), delimiter=separator, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return
            header = [name.strip() for name in header]
            if double := sorted({name for name in header if header.count(name) > 1}):
                raise AtlasError(f"{file.name} line 1: the column name {double[0]!r} stands there twice; rename one.")
            last = reader.line_num
            for cells in reader:
                line, last = last + 1, reader.line_num
                if not cells:  # an empty line
                    continue
                if len(cells) != len(header):
                    raise AtlasError(
                        f"{file.name} line {line} has {len(cells)} fields where the header has {len(header)}: quote "
                        "fields that hold the separator or line breaks."
                    )
                yield line, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise AtlasError(
                f"{file.name} line {reader.line_num} is not valid CSV ({error}): correct the quoting."
            ) from error

    return read


def _read_lines(file: Path, encoding: str) -> Iterator[tuple[int, dict]]:
    lines = read_text(file, encoding).replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines != [""]:
        for line, content in enumerate(lines, start=1):
            yield line, {"text": content}


def _read_parquet(file: Path, encoding: str) -> Iterator[tuple[None, dict]]:
    import pyarrow
    from pyarrow import parquet

    with _arrow_errors(file, "parquet"), parquet.ParquetFile(file) as table:
        _refuse_twins(file, table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1024):
            for values in _rows_of(file, batch, pyarrow):
                yield None, values


def _read_arrow(file: Path, encoding: str) -> Iterator[tuple[None, dict]]:
    """Both Arrow layouts: the file ('ARROW1' at its begin) and the stream, which Hugging Face datasets write."""
    import pyarrow

    # Copied, not mapped: a file that is shorter than it says, or is cut meanwhile, would end the interpreter.
    with _arrow_errors(file, "Arrow"), pyarrow.OSFile(str(file)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        with (pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream)(source) as table:
            _refuse_twins(file, table.schema.names)
            batches = (table.get_batch(i) for i in range(table.num_record_batches)) if is_file else table
            for batch in batches:
                for begin in range(0, batch.num_rows, 1024):
                    for values in _rows_of(file, batch.slice(begin, 1024), pyarrow):
                        yield None, values


def _rows_of(file: Path, batch: pa.RecordBatch, pyarrow: ModuleType) -> list[dict]:
    """The rows of a batch, each value looked at before it is read: offsets that lie would read other memory."""
    try:
        batch.validate(full=True)
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        raise AtlasError(f"{file.name} holds text that is not UTF-8 ({error}): write the file again.") from error
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError, KeyError, MemoryError) as error:
        reason = str(error).strip().split("\n")[0][:150].rstrip(".")
        what = "text that is not UTF-8" if "UTF8" in reason else "a value that cannot be read"
        raise AtlasError(f"{file.name} holds {what} ({reason}): write the file again.") from error


class _arrow_errors:
    """Turns what pyarrow raises for a damaged file into one sentence; leaves errors of the consumer alone."""

    def __init__(self, file: Path, name: str) -> None:
        self.file, self.name = file, name

    def __enter__(self) -> _arrow_errors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import pyarrow

        # ValueError: names of columns that are no text, sizes that are none
        known = pyarrow.ArrowException | OSError | ValueError | OverflowError | TypeError | KeyError | MemoryError
        if isinstance(error, known) and not isinstance(error, AtlasError):
            reason = str(error).strip().split("\n")[0][:150].rstrip(".") or "empty"
            raise AtlasError(
                f"{self.file} is not a complete {self.name} file ({reason}): bring it in again or correct `format`."
            ) from error


def _refuse_twins(file: Path, names: list[str]) -> None:
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise AtlasError(f"{file.name}: the column name {double[0]!r} stands there twice; rename one.")


_READERS = {
    "jsonl": read_json_lines,
    "json": read_json,
    "any_json": read_any_json,
    "csv": _read_separated(","),
    "tsv": _read_separated("\t"),
    "lines": _read_lines,
    "parquet": _read_parquet,
    "arrow": _read_arrow,
}
