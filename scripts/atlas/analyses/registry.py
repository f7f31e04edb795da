"""Every analysis in order, and the lists of names that follow from the records. Rules, checks and docs read it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from atlas.analyses.claims.said import Said, has_claims, read
from atlas.analyses.record import Analysis, Plot

# The folders in the order of config.yaml, of tables and of figures. A new analysis is a line here and a folder.
FOLDERS = (
    "saliency",
    "meaningless_tokens",
    "sinks",
    "head_types",
    "head_categories",
    "mink",
    "safety_heads",
    "heads",
    "claims",
    "costs",
)


def _found(module: str, name: str) -> dict[str, dict]:
    return {folder: getattr(import_module(f"atlas.analyses.{folder}.{module}"), name) for folder in FOLDERS}


_RECORDS: dict[str, dict[str, Analysis]] = _found("analysis", "ANALYSES")

# analysis -> its record; those without a block in the configuration (the run itself) are not among them
ANALYSES: dict[str, Analysis] = {
    name: record for records in _RECORDS.values() for name, record in records.items() if record.block
}
# analysis -> its folder
FOLDER: dict[str, str] = {name: folder for folder, records in _RECORDS.items() for name in records}
_ALL: dict[str, Analysis] = {name: record for records in _RECORDS.values() for name, record in records.items()}

# table -> {column: type}
TABLES: dict[str, dict[str, str]] = {
    table: columns for tables in _found("tables", "TABLES").values() for table, columns in tables.items()
}
# table -> the analysis whose models and data sets it covers
TABLE_ANALYSES: dict[str, str] = {table: name for name, record in _ALL.items() for table in record.tables}
# table that is made from others -> its analysis
JOINED_TABLES: dict[str, str] = {table: name for name, record in ANALYSES.items() for table in record.joined}

# sharded extraction -> (its analysis, the module whose `merge` joins its shards)
EXTRACTIONS: dict[str, tuple[str, str]] = {
    extraction: (name, f"{FOLDER[name]}.{module}")
    for name, record in ANALYSES.items()
    for extraction, module in record.extractions.items()
}
# sharded answers -> their analysis
ANSWERS: dict[str, str] = {answers: name for name, record in ANALYSES.items() for answers in record.answers}

# plot -> its record, and the analysis it draws (None: the run itself)
PLOTS: dict[str, Plot] = {plot: drawn for record in _ALL.values() for plot, drawn in record.plots.items()}
PLOT_ANALYSES: dict[str, str | None] = {
    plot: name if record.block else None for name, record in _ALL.items() for plot in record.plots
}
PLOT_FOLDERS: dict[str, str] = {plot: FOLDER[name] for name, record in _ALL.items() for plot in record.plots}

# Analyses of single heads, in the order of their columns in the table heads.
HEAD_ANALYSES: tuple[str, ...] = tuple(
    sorted(
        (name for name, record in ANALYSES.items() if record.head_tables), key=lambda name: ANALYSES[name].head_place
    )
)
HEAD_COLUMNS: dict[str, ModuleType] = {
    name: import_module(f"atlas.analyses.{name}.head_columns") for name in HEAD_ANALYSES
}
for _columns in HEAD_COLUMNS.values():
    TABLES["heads"] |= _columns.COLUMNS
# folder -> its claims, of those that bring some
CLAIMS: dict[str, Said] = {folder: read(folder) for folder in FOLDERS if has_claims(folder)}
# analysis -> its folder, of those whose results claims look at
CLAIM_FOLDERS: dict[str, str] = {analysis: folder for folder, said in CLAIMS.items() for analysis in said.reads}
# analysis that joins what others have found -> those others
JOINED_FROM: dict[str, tuple[str, ...]] = {"heads": HEAD_ANALYSES, "claims": tuple(CLAIM_FOLDERS)}
# column of the table heads that heads are compared by -> how it is told
MEASURES = {name: measure for module in HEAD_COLUMNS.values() for name, measure in module.MEASURES.items()}


def heads_columns(blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The columns of the table heads under a configuration's `analyses`: those that are always there, and more."""
    more: dict[str, str] = {}
    for name, module in HEAD_COLUMNS.items():
        if name in blocks and hasattr(module, "more_columns"):
            more |= module.more_columns(blocks[name])
    return TABLES["heads"] | more
