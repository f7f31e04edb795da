"""What each attention head maps source tokens to, read from its weights (MAPS).

Elhelo & Geva, "Inferring Functionality of Attention Heads from their Parameters", ACL 2025, arXiv 2412.11965:

    m_s = E'[s] W_V W_O U        E' = W_E[s] in layer 0, MLP_0(norm_0(W_E[s])) above; U the raw unembedding

No biases of V or O, no other norm. W_E[s] are the stored rows, without the multiplier that some families apply to
embeddings (Gemma): a positive factor changes no rank in layer 0, and norm_0 removes it for the layers above.

For every pair (s, t) of a relation the rank of t in m_s and in -m_s is kept, and of every other target of the same
relation the rank where it is below `k_max`. Any k <= k_max, any threshold and the permutation null follow from these.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from atlas.analyses.head_categories.logit_ranks import (
    BLOCK,
    CPU_TILE,
    ITEMS,
    Comparisons,
    count,
    rank_in_blocks,
    ranks,
    target_logits,
)
from atlas.errors import AtlasError
from atlas.models.memory import keep_freed_memory
from atlas.models.weights import WeightReader

HIT_DTYPES = {
    "hit_layer": np.int16, "hit_head": np.int16, "hit_sign": np.int8, "hit_pair": np.int32, "hit_target": np.int32,
    "hit_rank": np.int32,
}  # fmt: skip
_VOCABULARY_STEP = 4096  # rows of U handled at once
_SOURCES = 2048  # distinct sources per task
_BLOCKWISE = ("cpu",)  # devices on which many small products beat whole rows


@dataclass(frozen=True)
class _Group:
    """Pairs of one relation: `pairs` (n,) their numbers, `rows` (n,) their sources' rows within the task, `targets`
    (m,) the relation's distinct target tokens, `own` (n,) the position of each pair's target among them."""

    pairs: np.ndarray
    rows: torch.Tensor
    targets: torch.Tensor
    own: torch.Tensor


@dataclass(frozen=True)
class _Task:
    """A run of distinct sources: `span` among all of them, the targets they are compared with, the numbers of the pairs
    in the order of those comparisons, and the relations' groups of pairs with these sources."""

    span: slice
    comparisons: Comparisons
    pairs: np.ndarray
    groups: tuple[_Group, ...]


def map_heads(
    folder,
    pairs,
    layers: Iterable[int] | None = None,
    *,
    heads: Iterable[int] | None = None,
    first_mlp: bool = True,
    k_max: int = 64,
    memory_mb: int = 1024,
    threads: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Ranks and hit lists of every pair under every head of `layers` (default: all), in both signs.

    folder: model in Hugging Face layout, safetensors. pairs: columns relation, source_id, target_id (P rows).
    heads: only these query heads (default: all). first_mlp: False takes raw embeddings in every layer. memory_mb:
    bound on working memory beside one layer and U. threads: CPU threads (default: torch's). progress: called with each
    finished layer.

    Returns layers (L,), heads (H,) and k_max () int32; rank_direct and rank_suppression (L, H, P) int32, 0 the top;
    and the hit list as columns: hit_layer, hit_head, hit_sign (1 direct, -1 suppression), hit_pair (row of `pairs`,
    whose source it is), hit_target (token, one of the relation's targets), hit_rank (< k_max), in the order of layers,
    heads, sign (direct first), pair, target. Every layer is computed on its own, so shards by layers join to the same
    bytes (gathering.merge_layers).
    Raises AtlasError: family, tensors, ids outside the vocabulary, too little memory_mb.
    """
    reader = WeightReader(folder, device=device)
    shape, compute = reader.shape, _dtype(dtype)
    layers = _indices(layers, shape.layers, "layer")
    heads = _indices(heads, shape.heads, "head")
    unembedding = reader.unembedding()
    tasks, sources = _plan(pairs, len(unembedding), device)
    if not 1 <= k_max <= len(unembedding):
        raise AtlasError(f"k_max must be between 1 and the vocabulary of {len(unembedding)}, not {k_max}.")
    keep_freed_memory()
    workers = 1 if torch.device(device).type != "cpu" else (threads or torch.get_num_threads())
    batch = _heads_at_once(len(unembedding), shape, len(sources), len(pairs), compute, memory_mb, workers)

    embedded = reader.embedding_rows(sources).to(compute)
    lifted = embedded if not first_mlp or layers == [0] else reader.first_mlp(embedded)
    if not torch.isfinite(lifted).all():
        raise AtlasError(f"Model {folder}: the first MLP overflows in {dtype}; check the checkpoint.")
    result = {
        "layers": np.array(layers, np.int32),
        "heads": np.array(heads, np.int32),
        "k_max": np.array(k_max, np.int32),
        "rank_direct": np.zeros((len(layers), len(heads), len(pairs)), np.int32),
        "rank_suppression": np.zeros((len(layers), len(heads), len(pairs)), np.int32),
    }
    hits, scale = [], _largest(unembedding)
    with _Pool(workers) as pool:
        for at, layer in enumerate(layers):
            value, output = reader.value_weights(layer), reader.output_weights(layer)
            x = embedded if layer == 0 else lifted
            # No logit is larger than this; comparisons with an overflow would be silent.
            bound = scale * shape.width**2 * shape.value_width * _largest(output) * _largest(value) * _largest(x)
            if not bound < torch.finfo(compute).max:
                raise AtlasError(
                    f"Model {folder}: the weights of layer {layer} overflow in {dtype}; check the checkpoint."
                )
            for first in range(0, len(heads), batch):
                some = heads[first : first + batch]
                maps = _head_maps(pool, output[some].to(compute), unembedding)
                states = [x @ value[head // shape.group].to(compute) for head in some]
                jobs = [(i, task) for i in range(len(some)) for task in tasks]
                parts = pool.map(partial(_rank_job, states, maps, k_max), jobs)
                found = [[] for _ in some]
                for (i, task), (direct, suppression, rows) in zip(jobs, parts, strict=True):
                    result["rank_direct"][at, first + i, task.pairs] = direct
                    result["rank_suppression"][at, first + i, task.pairs] = suppression
                    found[i].append(rows)
                hits += [_hit_columns(layer, head, rows) for head, rows in zip(some, found, strict=True)]
                del maps
            if progress is not None:
                progress(layer)
    return result | {name: np.concatenate([columns[name] for columns in hits]) for name in HIT_DTYPES}


def _rank_job(states, maps, k_max: int, job):
    head, task = job
    return _rank_pairs(states[head][task.span], maps[head], task, k_max)


def _rank_pairs(rows, vocabulary, task: _Task, k_max: int):
    """Ranks of a task's pairs and its hits under one head.

    rows: (n, value_width) E' W_V of the distinct sources. vocabulary: (V, value_width) the head's W_O U, transposed.
    Returns rank_direct and rank_suppression in the order of task.pairs, and hits (hits, 4): sign, pair, target, rank.
    """
    thresholds = target_logits(rows, vocabulary, task.comparisons)
    differences, extremes = count(rows, vocabulary, task.comparisons, thresholds, k=k_max)
    both = [rank.cpu().numpy() for rank in ranks(torch.cat(differences), len(vocabulary))]
    found = []
    own_targets = torch.cat(task.comparisons.slots).cpu().numpy()
    for sign, rank in zip((1, -1), both, strict=True):
        keep = rank < k_max
        found.append(np.column_stack([np.full(keep.sum(), sign), task.pairs[keep], own_targets[keep], rank[keep]]))

    # Other targets of the relation: few reach the row's bound, and only those are ranked.
    # The bounds stem from another order of summation than `values`: leave room for its rounding.
    upper = extremes.upper - 1e-3 * extremes.upper.abs()
    lower = extremes.lower + 1e-3 * extremes.lower.abs()
    silent = ~rows.any(1)  # a head that writes nothing ties all logits: every target would reach the bound
    upper[silent], lower[silent] = torch.inf, -torch.inf
    pairs, where, targets, logits, signs = [], [], [], [], []
    for group in task.groups:
        values = rows[group.rows] @ vocabulary[group.targets].T
        for sign, near in ((1, values >= upper[group.rows, None]), (-1, values <= lower[group.rows, None])):
            near.scatter_(1, group.own[:, None], False)
            row, column = near.nonzero(as_tuple=True)
            pairs.append(group.pairs[row.cpu().numpy()])
            where.append(group.rows[row])
            targets.append(group.targets[column])
            logits.append(values[row, column])
            signs.append(torch.full_like(row, sign))
    pairs, where, targets, logits, signs = (
        np.concatenate(pairs), torch.cat(where), torch.cat(targets), torch.cat(logits), torch.cat(signs)
    )  # fmt: skip
    rank = _rank_candidates(rows, vocabulary, extremes, where, targets, logits, signs)
    columns = torch.stack([signs, targets, rank], 1).cpu().numpy()
    keep = columns[:, 2] < k_max
    found.append(np.column_stack([columns[keep, 0], pairs[keep], columns[keep, 1:]]))
    return *both, np.concatenate(found)


def _rank_candidates(rows, vocabulary, extremes, where, targets, logits, signs):
    """(c,) rank of each candidate under its sign."""
    if rows.device.type in _BLOCKWISE:
        return rank_in_blocks(rows, vocabulary, extremes, where, targets, logits, signs)
    (difference,), _ = count(rows[where], vocabulary, Comparisons((targets,)), [logits])
    direct, suppression = ranks(difference, len(vocabulary))
    return torch.where(signs > 0, direct, suppression).long()


def _largest(tensor) -> float:
    """The largest absolute value."""
    low, high = tensor.aminmax()
    return max(-float(low), float(high))


def _head_maps(pool, output, unembedding) -> torch.Tensor:
    """(heads, V, value_width): U W_O^T of each head. output: (heads, value_width, width); unembedding: (V, width)."""
    heads, width = output.shape[:2]
    weight = output.reshape(heads * width, -1).T
    maps = output.new_empty(len(unembedding), heads * width)

    def fill(start: int) -> None:  # one wide product beats one per head
        part = slice(start, start + _VOCABULARY_STEP)
        torch.mm(unembedding[part].to(output.dtype), weight, out=maps[part])

    pool.map(fill, range(0, len(unembedding), _VOCABULARY_STEP))
    return maps.view(-1, heads, width).transpose(0, 1)


def _plan(pairs, vocabulary: int, device) -> tuple[list[_Task], torch.Tensor]:
    """The tasks, and the distinct source tokens: those with most pairs first, so that slots are contiguous."""
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

    # slots[j][r]: the j-th pair of source row r.
    slots, slot = [], np.zeros(len(row), np.int64)
    seen = np.zeros(len(tokens), np.int64)
    for pair, r in enumerate(row):
        slot[pair] = seen[r]
        seen[r] += 1
    for j in range(number.max()):
        members = np.flatnonzero(slot == j)
        slots.append(members[np.argsort(row[members])])

    def tensor(values):
        return torch.as_tensor(values, dtype=torch.long, device=device)

    distinct = {r: np.unique(target[relation == r]) for r in np.unique(relation)}
    comparisons = Comparisons(tuple(tensor(target[members]) for members in slots))
    tasks = []
    for span, part in comparisons.split(_SOURCES):
        numbers = np.concatenate([members[span] for members in slots])
        inside = np.sort(numbers)
        groups = []
        for r in np.unique(relation[inside]):
            those = inside[relation[inside] == r]
            own = np.searchsorted(distinct[r], target[those])
            groups.append(_Group(those, tensor(row[those] - span.start), tensor(distinct[r]), tensor(own)))
        tasks.append(_Task(span, part, numbers, tuple(groups)))
    return tasks, torch.as_tensor(tokens[order])


def _heads_at_once(vocabulary, shape, sources, pairs, compute, memory_mb, workers) -> int:
    """How many heads' W_O U fit into `memory_mb` beside what every task needs."""
    item, heads, some = compute.itemsize, shape.heads, min(sources, _SOURCES)
    blocks = -(-vocabulary // BLOCK)
    task = CPU_TILE[0] * CPU_TILE[1] + some * (6 * blocks + 2 * shape.width)
    task += min(ITEMS, 2 * some * blocks) * (BLOCK + shape.value_width + 8)  # logits near the top, states, indices
    task = item * (task + 3 * some * min(pairs, 1024))  # with logits of the targets of a relation, and their masks
    fixed = 3 * sources * shape.width * item + workers * task  # E, E' and a layer's intermediate

    def needed(heads: int) -> int:
        step = workers * _VOCABULARY_STEP * item * (shape.width + heads * shape.value_width)
        one = vocabulary * shape.value_width + shape.value_width * shape.width + sources * shape.value_width
        return fixed + step + heads * item * one

    fit = [n for n in range(1, heads + 1) if needed(n) <= memory_mb * 2**20]
    if not fit:
        need = -(-needed(1) // 2**20)
        raise AtlasError(f"memory_mb: {memory_mb} is too little for one head of this model; it needs at least {need}.")
    return fit[-1]


def _hit_columns(layer: int, head: int, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The hits of one head as columns, direct before suppression, then by pair and target."""
    sign, pair, target, rank = np.concatenate(rows).T
    order = np.argsort(((sign < 0) * (pair.max(initial=0) + 1) + pair) * (target.max(initial=0) + 1) + target)
    columns = (np.full(len(order), layer), np.full(len(order), head), sign, pair, target, rank)
    return {name: column[order].astype(kind) for (name, kind), column in zip(HIT_DTYPES.items(), columns, strict=True)}


def _indices(chosen, size: int, what: str) -> list[int]:
    indices = list(range(size)) if chosen is None else [int(index) for index in chosen]
    if bad := [index for index in indices if not 0 <= index < size]:
        raise AtlasError(f"{what.capitalize()} {bad[0]} does not exist; the model has {size} {what}s, counted from 0.")
    return indices


def _dtype(name: str) -> torch.dtype:
    if name not in ("float32", "float64"):
        raise AtlasError(f"Head mappings are computed in float32 or float64, not {name!r}.")
    return getattr(torch, name)


class _Pool:
    """Maps a function over tasks on threads that use one core each: whole tasks scale better than their small parts."""

    def __init__(self, workers: int):
        self._threads = (
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) if workers > 1 else None
        )

    def map(self, function, tasks) -> list:
        return list(map(function, tasks) if self._threads is None else self._threads.map(function, tasks))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
