"""What an analysis says of itself, as plain data. Rules, checks and docs read it; no job does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plot:
    """One kind of figure; its draw function is `plot_{name}.draw`, its options are in `plot_{name}.yaml`.

    tables: read by it, of the figure's models alone; beside: also those, where their analysis is configured.
    category: its heading in the report. page: one HTML page instead of pdf, svg and png; files: what it is put
    together from. measures_machine: its bytes differ from run to run, so the manifest leaves it out. models_of: {table
    that is read of other models than `models`: the figure's option that lists them}; datasets_of: likewise of another
    data set than `dataset`. asked_by: {table beside them: the figure's option, true or false, that asks for it}.
    """

    tables: tuple[str, ...]
    category: str
    beside: tuple[str, ...] = ()
    page: bool = False
    files: tuple[str, ...] = ()
    measures_machine: bool = False
    models_of: Mapping[str, str] = field(default_factory=dict)
    datasets_of: Mapping[str, str] = field(default_factory=dict)
    asked_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """One block of `analyses:` in the configuration.

    kind: of its data sets (None: it reads none). tables: published, each with its columns in tables.py, read from the
    metrics of every model and data set. joined: tables without a data set of their own. extractions: {name of a sharded
    extraction: module of the folder whose `merge` joins its shards}; answers: generated ones, likewise in shards, which
    are rows. plots: by name. head_tables: its tables of single heads, which head_columns.py turns into columns of the
    table heads, at head_place among those of other analyses. starts_from: an analysis whose models and data sets it
    must lie within. block: False if there is no such block (the run itself).
    """

    kind: str | None = None
    tables: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    extractions: Mapping[str, str] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    plots: Mapping[str, Plot] = field(default_factory=dict)
    head_tables: tuple[str, ...] = ()
    head_place: int = 0
    starts_from: str | None = None
    block: bool = True
