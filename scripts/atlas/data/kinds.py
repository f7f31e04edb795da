"""The kinds of data sets: what a row holds, and how raw files become a checked table of exactly the rows used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from atlas.checksums import sha256_file
from atlas.data import checks, trees
from atlas.data.columns import convert, pick
from atlas.data.depth_folder import depth_files, is_depth_folder, iterate_depth
from atlas.data.readers import Row, data_files, iterate_rows
from atlas.data.relations_folder import (
    is_relations_folder,
    iterate_listed,
    iterate_relations,
    listed_files,
    relations_files,
)
from atlas.data.selection import by_row, select
from atlas.errors import AtlasError
from atlas.names import closest
from atlas.results.provenance import NAME, check_files, is_hidden, rows_from

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas" / "kinds"


@dataclass(frozen=True)
class Kind:
    """One kind of data set.

    name: also the name of its schema, schemas/kinds/<name>.schema.json, which describes one row.
    check_table: hook for checks over all rows: (table, place of each row for messages) -> None, raises AtlasError.
    unusable: hook that says why a row is left out and counted, before its schema is checked: (fields of the row) ->
        reason or None.
    choose: hook that picks rows for `limit` and `sample`: (table, entry, name) -> positions in the order of the file.
    """

    name: str
    check_table: Callable[[pd.DataFrame, list[str]], None] = checks.check_nothing
    unusable: Callable[[dict], str | None] = checks.never
    choose: Callable[[pd.DataFrame, dict, str], np.ndarray] = lambda table, entry, name: select(
        table, entry, by_row, name
    )

    @cached_property
    def schema(self) -> dict:
        return json.loads((SCHEMAS / f"{self.name}.schema.json").read_text(encoding="utf-8"))

    @property
    def fields(self) -> dict[str, dict]:
        """field -> its schema, in the order of the table's columns."""
        return self.schema["properties"]

    @property
    def required(self) -> list[str]:
        return self.schema["required"]

    @property
    def takes_scores(self) -> bool:
        return bool(self.schema["additionalProperties"])

    def field_schema(self, field: str) -> dict:
        return self.fields.get(field) or self.schema["additionalProperties"]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("prompts"),
        Kind("text"),
        Kind("membership", checks.check_labels),
        Kind("qa", unusable=checks.unusable_question),
        Kind("marked", checks.check_marked, unusable=checks.unusable_prompt),
        Kind("depth", checks.check_graph, choose=trees.choose_trees),
        Kind("relations", checks.check_relations, choose=trees.check_relations_have),
    )
}


def prepare(kind: str, entry: dict, raw: Path) -> tuple[pd.DataFrame, dict]:
    """The checked table of a data set, and a report on it.

    kind: key of KINDS. entry: the data set's config entry (`format`, `encoding`, `columns`, `limit`, `sample`,
    `relations`, `records`). raw: a file, or the folder that materialise_dataset made.
    All rows are checked, used or not. `limit` and `sample` count rows; for `depth` the questions of the greatest depth,
    which come with all their predecessors; for `relations` the pairs of each relation that are left to a model, so that
    all of them are in the table.
    Returns (table, report): the table has exactly the kind's fields (optional ones where any row has them), the report
    says rows_in_file, rows_used, dropped (reason -> number), unusable (reason -> ids, where there are such rows),
    files (name -> sha256) and what of them was not read: unused_columns and unused_files, by name.
    Raises AtlasError naming file, row and field.
    """
    if kind not in KINDS:
        raise AtlasError(f"data-set kind {kind!r} is unknown{closest(kind, KINDS)}: use one of {', '.join(KINDS)}.")
    raw = Path(raw)
    rules = KINDS[kind]
    columns = _check_columns(rules, entry.get("columns") or {}, raw)
    format, encoding = entry.get("format") or "auto", entry.get("encoding") or "utf-8"
    listed = entry.get("relations")
    rows, files = _rows_and_files(kind, raw, entry | {"format": format, "encoding": encoding})
    records, places = [], []
    unusable: dict[str, list[str]] = {}
    unused: set[str] = set()
    for row in rows:
        unused |= row.values.keys() - _columns_read(rules, columns, row)
        record = _record(rules, columns, row, from_text=_is_text(format, row, raw, files))
        if reason := rules.unusable(record):
            unusable.setdefault(reason, []).append(str(record["id"]))
            continue
        _check_record(rules, record, row.place)
        records.append(record)
        places.append(row.place)
    counts = {reason: len(names) for reason, names in unusable.items()}
    if unusable and not records:
        told = ", ".join(f"{number} {reason}" for reason, number in counts.items())
        raise AtlasError(f"{raw.name}: no row can be used ({told}); correct the data set.")
    table = _as_table(rules, records)
    if "id" in table:
        checks.check_unique(table["id"], places, "id")
    if not listed:  # published lists are pinned as they are: a source may have several targets there
        rules.check_table(table, places)
    chosen = rules.choose(table, entry, raw.name)
    used = table.iloc[chosen].reset_index(drop=True)
    reason = "not in the sample" if entry.get("sample") else "beyond the limit"
    dropped = counts | ({reason: len(table) - len(used)} if len(used) < len(table) else {})
    report = {
        "rows_in_file": len(table) + sum(counts.values()),
        "rows_used": len(used),
        "dropped": dropped,
        **({"unusable": unusable} if unusable else {}),
        "files": {_relative(file, raw): sha256_file(file) for file in files},
        "unused_columns": sorted(unused),
        "unused_files": _unused_files(raw, files),
    }
    return used, report


def _rows_and_files(kind: str, raw: Path, entry: dict) -> tuple[Iterable[Row], list[Path]]:
    """The rows of a file or folder, and the files that they are read from. Raises AtlasError."""
    format, encoding = entry["format"], entry["encoding"]
    listed, records = entry.get("relations"), entry.get("records")
    if raw.is_dir():  # what is lost is missed before anything is looked for
        check_files(raw, [])
    tables = {"relations": is_relations_folder, "depth": is_depth_folder}.get(kind, lambda _: False)(raw)
    if records and tables and not listed:
        raise AtlasError(f"{raw.name} is a folder of tables, in which `records: {records}` names nothing: take it out.")
    if listed:
        found = iterate_listed(raw, listed, format, encoding, records), listed_files(raw, listed)
    elif tables and kind == "relations":
        categories = KINDS[kind].field_schema("category")["enum"]
        found = iterate_relations(raw, categories, encoding), relations_files(raw, encoding)
    elif tables:
        found = iterate_depth(raw, encoding), depth_files(raw)
    else:
        files = rows_from(raw) or data_files(raw)
        found = iterate_rows(files, format, encoding, records), files
    if raw.is_dir():
        check_files(raw, found[1])
    return found


def _unused_files(raw: Path, files: list[Path]) -> list[str]:
    """Files of a folder that no row came from, by name."""
    every = {_relative(file, raw) for file in raw.rglob("*") if file.is_file()} if raw.is_dir() else set()
    return sorted(name for name in every - {_relative(file, raw) for file in files} - {NAME} if not is_hidden(name))


def _relative(file: Path, raw: Path) -> str:
    return file.relative_to(raw).as_posix() if raw.is_dir() else file.name


def _is_text(format: str, row: Row, raw: Path, files: list[Path]) -> bool:
    """Whether the row's values are cells of a CSV file, which know no types."""
    return format in {"csv", "tsv"} or (
        format == "auto" and files[0].name.removesuffix(".gz").endswith((".csv", ".tsv"))
    )


def _check_columns(rules: Kind, columns: dict[str, str], raw: Path) -> dict[str, str]:
    for field, column in columns.items():
        if field not in rules.fields and not rules.takes_scores:
            raise AtlasError(
                f"{raw.name}: `columns` names the field {field!r}, which kind {rules.name} does not have"
                f"{closest(field, rules.fields)}; its fields are {', '.join(rules.fields)}."
            )
        if not isinstance(column, str) or not column:
            raise AtlasError(f"{raw.name}: `columns.{field}` is {column!r}; it must be the name of a column.")
    return columns


def _record(rules: Kind, columns: dict[str, str], row: Row, from_text: bool) -> dict:
    """One row's fields, converted."""
    record = {}
    for field, column in _wanted(rules, columns, row).items():
        mapped = column is not None
        required = mapped or (field in rules.required and field not in {"id", "predecessors"})
        value = pick(row.values, column or field, row.place, field, required=required)
        if field == "id" and not mapped and "id" not in row.values:
            value = str(row.number)
        try:
            value = convert(value, rules.field_schema(field), from_text)
        except ValueError as error:
            raise AtlasError(f"{row.place}: field {field!r} {error}.") from error
        if value is not None or field in rules.required:
            record[field] = value
    return record


def _wanted(rules: Kind, columns: dict[str, str], row: Row) -> dict[str, str | None]:
    """{field: its column, or None for the column of its own name}."""
    wanted: dict[str, str | None] = {**dict.fromkeys(rules.fields), **columns}
    # Score columns come along by their name, before the others.
    scores = [name for name in row.values if rules.takes_scores and name.startswith("score") and name not in wanted]
    return {**dict.fromkeys(scores), **wanted}


def _columns_read(rules: Kind, columns: dict[str, str], row: Row) -> set[str]:
    """The columns of a row that its fields are taken from, a path by its first part."""
    named = {column or field for field, column in _wanted(rules, columns, row).items()}
    return {name if name in row.values else name.split(".")[0] for name in named}


def _check_record(rules: Kind, record: dict, place: str) -> None:
    for error in _validator(rules.name).iter_errors(record):
        raise AtlasError(f"{place}: {_sentence(error, rules)}.")
    checks.check_characters(record, place)


@cache
def _validator(kind: str) -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(KINDS[kind].schema)


def _sentence(error: ValidationError, rules: Kind) -> str:
    """A schema error in the words of someone who looks at the row; of a nested field, with its `form`."""
    field = str(error.path[0]) if error.path else "?"
    inside = f" (item {error.path[1]})" if len(error.path) > 1 else ""
    value: Any = error.instance
    limit: Any = error.validator_value
    shown = json.dumps(value, ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    subject = f"field {field!r}{inside}"
    if value is None:
        return f"{subject} is empty; give a value or remove the row"
    form = rules.field_schema(field).get("form")
    match error.validator:
        case "minLength" | "pattern" | "minItems" | "minProperties" if not len(value) or not str(value).strip():
            return f"{subject} is empty; give a value or remove the row"
        case _ if form:
            return f"{subject} holds {shown}; it must be {form}"
        case "type":
            wanted = " or ".join(name for name in ([limit] if isinstance(limit, str) else limit) if name != "null")
            return f"{subject} must be of type {wanted}, not {shown}"
        case "enum":
            return f"{subject} is {shown}; it must be one of {', '.join(map(str, limit))}"
        case "minimum" | "maximum":
            return f"{subject} is {shown}; the {error.validator} is {limit}"
        case "uniqueItems":
            return f"{subject} names something twice: {shown}"
        case _:
            return f"{subject} does not fit the schema of its kind: {shown}"


def _as_table(rules: Kind, records: list[dict]) -> pd.DataFrame:
    extra = dict.fromkeys(name for record in records for name in record if name not in rules.fields)
    present = [*[name for name in rules.fields if any(name in record for record in records)], *extra]
    return pd.DataFrame({name: _column([record.get(name) for record in records], name, rules) for name in present})


def _column(values: list, name: str, rules: Kind) -> pd.Series:
    """Integers as int64, scores as float64, everything else as Python objects (None for nothing)."""
    if rules.field_schema(name).get("type") == "integer":
        return pd.Series(values, dtype="int64")
    if name not in rules.fields:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="object")
