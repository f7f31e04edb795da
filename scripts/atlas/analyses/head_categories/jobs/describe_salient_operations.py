"""The salient operations of all heads with the texts of their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.analyses.head_categories.salient_table import salient_table
from atlas.data.tokens import token_texts
from atlas.models.architectures import read_shape

if TYPE_CHECKING:
    from atlas.models.task import ModelTask
    from atlas.results.task import Result


def run(task: ModelTask) -> Result:
    arrays, document = task.arrays("activations")
    table = salient_table(arrays, read_shape(task.folder).layers, lambda ids: token_texts(task.tokenizer, ids))
    return {"salient_operations": table.assign(**task.keys)}, document
