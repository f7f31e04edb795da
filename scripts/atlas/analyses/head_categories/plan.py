"""How the pairs of a data set are cut into tasks, and how many heads fit into memory beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from atlas.analyses.head_categories.block_ranks import ITEMS
from atlas.analyses.head_categories.logit_ranks import BLOCK, CPU_TILE, Comparisons
from atlas.errors import AtlasError

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int
    from torch import Tensor

    from atlas.models.architectures import Shape

VOCABULARY_STEP = 4096  # rows of U handled at once
_SOURCES = 2048  # distinct sources per task


@dataclass(frozen=True)
class Group:
    """Pairs of one relation: `pairs` (n,) their numbers, `rows` (n,) their sources' rows within the task, `targets`
    (m,) the relation's distinct target tokens, `own` (n,) the position of each pair's target among them."""

    pairs: Int[np.ndarray, " pairs"]
    rows: Int[Tensor, " pairs"]
    targets: Int[Tensor, " targets"]
    own: Int[Tensor, " pairs"]


@dataclass(frozen=True)
class Task:
    """A run of distinct sources: `span` among all of them, the targets they are compared with, the numbers of the pairs
    in the order of those comparisons, and the relations' groups of pairs with these sources."""

    span: slice
    comparisons: Comparisons
    pairs: Int[np.ndarray, " comparisons"]
    groups: tuple[Group, ...]


def plan_tasks(pairs: pd.DataFrame, vocabulary: int, device: str) -> tuple[list[Task], Int[Tensor, " sources"]]:
    """The tasks, and the distinct source tokens: those with most pairs first, so that slots are contiguous.

    pairs: columns relation, source_id, target_id. Raises AtlasError where there is none, or where a token is outside
    the vocabulary.
    """
    relation = np.unique(np.asarray(pairs["relation"], dtype=str), return_inverse=True)[1]
    source, target = (np.asarray(pairs[name], dtype=np.int64) for name in ("source_id", "target_id"))
    if not len(relation):
        raise AtlasError("No pair of any relation is left to map; check the tokenizer's report of the relations.")
    for name, ids in (("source", source), ("target", target)):
        if ids.min() < 0 or ids.max() >= vocabulary:
            worst = int(ids.max() if ids.max() >= vocabulary else ids.min())
            raise AtlasError(f"A {name} has token {worst}, outside the model's vocabulary of {vocabulary}; "
                             "tokenizer and weights do not belong together.")  # fmt: skip
    tokens, row, number = np.unique(source, return_inverse=True, return_counts=True)
    order = np.argsort(-number, kind="stable")
    row = np.argsort(order)[row]

    slots = _slots(row, len(tokens))

    def tensor(values: Int[np.ndarray, " values"]) -> Int[Tensor, " values"]:
        return torch.as_tensor(values, dtype=torch.long, device=device)

    distinct = {r: np.unique(target[relation == r]) for r in np.unique(relation)}
    comparisons = Comparisons(tuple(tensor(target[members]) for members in slots))
    tasks: list[Task] = []
    for span, part in comparisons.split(_SOURCES):
        numbers = np.concatenate([members[span] for members in slots])
        inside = np.sort(numbers)
        groups = []
        for r in np.unique(relation[inside]):
            those = inside[relation[inside] == r]
            own = np.searchsorted(distinct[r], target[those])
            groups.append(Group(those, tensor(row[those] - span.start), tensor(distinct[r]), tensor(own)))
        tasks.append(Task(span, part, numbers, tuple(groups)))
    return tasks, torch.as_tensor(tokens[order])


def _slots(row: Int[np.ndarray, " pairs"], sources: int) -> list[Int[np.ndarray, " rows"]]:
    """The pairs by their place among those of their source: slots[j][r] is the j-th pair of source row r."""
    seen, slot = np.zeros(sources, np.int64), np.zeros(len(row), np.int64)
    for pair, r in enumerate(row):
        slot[pair] = seen[r]
        seen[r] += 1
    slots = []
    for j in range(seen.max()):
        members = np.flatnonzero(slot == j)
        slots.append(members[np.argsort(row[members])])
    return slots


def heads_at_once(
    vocabulary: int, shape: Shape, sources: int, pairs: int, compute: torch.dtype, memory_mb: int, workers: int
) -> int:
    """How many heads' W_O U fit into `memory_mb` beside what every task needs. Raises AtlasError if none does."""
    item, heads, some = compute.itemsize, shape.heads, min(sources, _SOURCES)
    blocks = -(-vocabulary // BLOCK)
    task = CPU_TILE[0] * CPU_TILE[1] + some * (6 * blocks + 2 * shape.width)
    task += min(ITEMS, 2 * some * blocks) * (BLOCK + shape.value_width + 8)  # logits near the top, states, indices
    task = item * (task + 3 * some * min(pairs, 1024))  # with logits of the targets of a relation, and their masks
    fixed = 3 * sources * shape.width * item + workers * task  # E, E' and a layer's intermediate

    def needed(heads: int) -> int:
        step = workers * VOCABULARY_STEP * item * (shape.width + heads * shape.value_width)
        one = vocabulary * shape.value_width + shape.value_width * shape.width + sources * shape.value_width
        return fixed + step + heads * item * one

    fit = [n for n in range(1, heads + 1) if needed(n) <= memory_mb * 2**20]
    if not fit:
        need = -(-needed(1) // 2**20)
        raise AtlasError(f"memory_mb: {memory_mb} is too little for one head of this model; it needs at least {need}.")
    return fit[-1]
