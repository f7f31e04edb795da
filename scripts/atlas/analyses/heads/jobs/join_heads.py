"""Join the tables of single heads of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.heads.join import join_heads
from atlas.results.documents import provenance

if TYPE_CHECKING:
    from atlas.results.task import Result, Task


def run(task: Task) -> Result:
    """params.head_tables: {analysis: its tables of single heads}, each an input of this name."""
    tables = {
        analysis: {name: task.frame(name) for name in names} for analysis, names in task.params["head_tables"].items()
    }
    sources = {path: task.document(name) for name, path in task.inputs.items()}
    choice = {**task.options, "models": [task.wildcards["model"]]}
    heads = join_heads(tables, choice, task.params["tables"]["heads"])
    return {"heads": heads}, provenance(options=task.options, sources=sources)
