"""What a job of an analysis is given, and how what it returns is written. Nothing here imports torch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from atlas.results.files import read_arrays, read_frame, read_provenance, write_arrays, write_frame
from atlas.results.journal import Journal
from atlas.results.tables import conform

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Document = dict[str, Any]
Columns = Mapping[str, str]
# What a job returns: its result, or {output: result}, and the provenance of all of them.
Result = tuple[Any, Document]


class Progress(Protocol):
    """progress("answers", "batch") wraps an iterable: a bar on a terminal, lines in a log."""

    def __call__(self, description: str, unit: str) -> Callable[[Iterable], Iterable]: ...


class Counting(Protocol):
    """Like Progress, for work that says itself when an item is done."""

    def __call__(
        self, description: str, unit: str, total: int | None
    ) -> AbstractContextManager[Callable[[Any], None]]: ...


@dataclass
class Task:
    """One job: its input files by name, the params of its rule, its wildcards, and how to say where it stands."""

    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    wildcards: Mapping[str, str]
    threads: int
    log: logging.Logger
    progress: Progress
    counting: Counting
    journals: list[Journal] = field(default_factory=list)

    @property
    def options(self) -> Any:
        """The options that the rule hands over: {name: value}; each analysis has a type for its own."""
        return self.params["options"]

    @property
    def keys(self) -> dict[str, str]:
        """The first columns of a table: model and data set."""
        return {name: self.wildcards[name] for name in ("model", "dataset")}

    @property
    def part(self) -> dict[str, int]:
        """Which shard this job computes, of how many."""
        return {name: int(self.wildcards[name]) for name in ("shard", "shards")}

    def arrays(self, name: str) -> tuple[dict[str, np.ndarray], Document]:
        """({name: array}, provenance) of a safetensors input."""
        return read_arrays(self.inputs[name])

    def frame(self, name: str) -> pd.DataFrame:
        return read_frame(self.inputs[name])

    def optional_frame(self, name: str) -> pd.DataFrame | None:
        """The frame of an input that not every configuration has."""
        return self.frame(name) if self.inputs.get(name) else None

    def document(self, name: str) -> Document:
        """The provenance of an input."""
        return read_provenance(self.inputs[name])

    def journal(self, key: object) -> Journal:
        """Where finished batches are kept until the job's result is written; `key`: all that they depend on."""
        journal = Journal(self.params["journal"], key)
        self.journals.append(journal)
        return journal


def perform(task: Task, output: Any) -> None:
    """Run the job that `params.job` names (a module of atlas.analyses with `run(task)`) and write what it returns.

    run returns (result, provenance): one result where the rule has one output, {output: result} where they have names.
    A result is a frame or {name: array}; a frame whose output is in `params.tables` must have that table's columns.
    """
    write_result(task, dict(output.items()) or {"": output[0]})


def write_result(task: Task, files: Mapping[str, str | Path]) -> None:
    """The same for {output: path}; {"": path} where the rule's output has no name."""
    result, document = import_module(f"atlas.analyses.{task.params['job']}").run(task)
    tables: Mapping[str, Columns] = task.params.get("tables", {})
    for name, path in files.items():
        _write(path, result[name] if name else result, document, tables.get(name))
    for journal in task.journals:
        journal.remove()


def _write(path: str | Path, result: Any, document: Document, columns: Columns | None) -> None:
    if isinstance(result, dict):
        write_arrays(path, result, document)
        return
    if columns is not None:
        result = conform(result, columns, str(path)).reset_index(drop=True)
    write_frame(path, result, document)
