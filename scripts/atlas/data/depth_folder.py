"""The published layout of a depth data set (DepthQA): folders questions/, nodes/ and node_to_q/ of parquet files.

A node is a question in one of the graphs; a question may stand in several. Rows are questions. The predecessors of a
question are those of all its nodes, in the order of the nodes, which are kept beside them. Source: Ko et al. 2024,
arXiv 2406.19502.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.data.columns import as_list
from atlas.data.readers import Row, data_files, iterate_rows
from atlas.errors import AtlasError

TABLES = ("questions", "nodes", "node_to_q")


def is_depth_folder(path: Path) -> bool:
    """Whether `path` is a folder with the three tables."""
    return path.is_dir() and all((path / name).is_dir() for name in TABLES)


def depth_files(folder: Path) -> list[Path]:
    """The files of the three tables."""
    return [file for name in TABLES for file in data_files(folder / name)]


def iterate_depth(folder: Path, encoding: str = "utf-8") -> Iterator[Row]:
    """Rows with id, predecessors, nodes (each its name and those below) and all columns of `questions`, in its order.

    Raises AtlasError: a column is missing, a node or a question is named that does not exist or stands there twice.
    """
    questions = _by(folder, "questions", "qid", encoding)
    nodes = _by(folder, "nodes", "nodeid", encoding)
    question_of = {
        name: _need(row, "qid", questions, "questions")
        for name, row in _by(folder, "node_to_q", "nodeid", encoding).items()
    }
    # The inner dictionaries keep the order and drop repetitions.
    predecessors: dict[str, dict[str, None]] = {name: {} for name in questions}
    places: dict[str, list[list[str]]] = {name: [] for name in questions}
    for name, row in nodes.items():
        if name not in question_of:
            raise AtlasError(f"{row.place}: node {name!r} has no line in node_to_q; add it.")
        own = question_of[name]
        if row.values.get("depth") != questions[own].values.get("depth"):
            raise AtlasError(
                f"{row.place}: node {name!r} has depth {row.values.get('depth')}, but its question {own!r} has depth "
                f"{questions[own].values.get('depth')}; correct one of the two."
            )
        below = _listed(row, "direct_predecessors")
        places[own].append([name, *below])
        for other in below:
            if other not in question_of:
                raise AtlasError(f"{row.place}: 'direct_predecessors' of {name!r} names {other!r}, which is no node.")
            predecessors[own][question_of[other]] = None
    for name, row in questions.items():
        yield Row(
            row.number,
            row.place,
            {**row.values, "id": name, "predecessors": list(predecessors[name]), "nodes": places[name]},
        )


def _by(folder: Path, table: str, column: str, encoding: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in iterate_rows(folder / table, "auto", encoding):
        name = str(_value(row, column))
        if name in found:
            raise AtlasError(
                f"{table}: {row.place}: {column} is {name!r}, as in {found[name].place} already; keep one."
            )
        found[name] = row
    return found


def _value(row: Row, column: str) -> Any:
    if column not in row.values:
        raise AtlasError(f"{row.place} has no column {column!r}; the columns are: {', '.join(row.values)}.")
    return row.values[column]


def _listed(row: Row, column: str) -> list[str]:
    value = _value(row, column)
    if value is None or value == "":
        return []
    try:
        return as_list(value)
    except ValueError as error:
        raise AtlasError(f"{row.place}: column {column!r} {error}.") from error


def _need(row: Row, column: str, known: dict[str, Row], table: str) -> str:
    value = str(_value(row, column))
    if value not in known:
        raise AtlasError(f"{row.place}: {column} is {value!r}, which is no {column} of {table}; correct it.")
    return value
