"""What each attention head maps source tokens to, read from its weights (MAPS).

Elhelo & Geva, "Inferring Functionality of Attention Heads from their Parameters", ACL 2025, arXiv 2412.11965:

    m_s = E'[s] W_V W_O U        E' = W_E[s] in layer 0, MLP_0(norm_0(W_E[s])) above; U the raw unembedding

No biases of V or O, no other norm. W_E[s] are the stored rows, without the multiplier that some families apply to
embeddings (Gemma): a positive factor changes no rank in layer 0, and norm_0 removes it for the layers above. For the
same reason no factor of a residual, a logit or a head counts, nor the scale of a norm between W_V and W_O, whose gain
does.

For every pair (s, t) of a relation the rank of t in m_s and in -m_s is kept, and of every other target of the same
relation the rank where it is below `k_max`. Any k <= k_max, any threshold and the permutation null follow from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from atlas.analyses.head_categories.plan import VOCABULARY_STEP, Task, heads_at_once, plan_tasks
from atlas.analyses.head_categories.rank_pairs import rank_pairs
from atlas.analyses.head_categories.salient import Salient
from atlas.errors import AtlasError
from atlas.models.batches import Batches
from atlas.models.memory import keep_freed_memory
from atlas.models.weights import WeightReader

if TYPE_CHECKING:
    from types import TracebackType

    import pandas as pd
    from jaxtyping import Float, Int
    from torch import Tensor

    from atlas.analyses.head_categories.salient import Finder, Wanted

_Given = TypeVar("_Given")
_Found = TypeVar("_Found")

HIT_DTYPES = {
    "hit_layer": np.int16, "hit_head": np.int16, "hit_sign": np.int8, "hit_pair": np.int32, "hit_target": np.int32,
    "hit_rank": np.int32,
}  # fmt: skip


def map_heads(
    folder: str | Path,
    pairs: pd.DataFrame,
    layers: Iterable[int] | None = None,
    *,
    heads: Iterable[int] | None = None,
    first_mlp: bool = True,
    first_experts: str = "embedding",
    k_max: int = 64,
    salient: Wanted | None = None,
    memory_mb: int = 1024,
    threads: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Ranks and hit lists of every pair under every head of `layers` (default: all), in both signs.

    folder: model in Hugging Face layout, safetensors. pairs: columns relation, source_id, target_id (P rows).
    heads: only these query heads (default: all). first_mlp: False takes raw embeddings in every layer. first_experts:
    what is taken where the first MLP is a mixture of experts ("embedding", "routed", "expert_mean"). salient: `wanted`
    of Salient. memory_mb: bound on working memory beside a layer and U. progress: called with each finished layer.

    Returns layers (L,), of hybrid models those with attention, depth (), all layers of the model, heads (H,), k_max (),
    rank_direct and rank_suppression (L, H, P), int32, 0 the top; and the hit list as columns: hit_layer, hit_head,
    hit_sign (1 direct, -1 suppression), hit_pair (row of `pairs`, whose source it is), hit_target (token), hit_rank
    (< k_max), by layer, head, sign (direct first), pair, target; with `salient` Salient.found. Shards join to these.
    Raises AtlasError: family, tensors, ids outside the vocabulary, too little memory_mb.
    """
    reader = WeightReader(folder, device=device)
    shape, compute = reader.shape, _dtype(dtype)
    chosen_layers = [layer for layer in _indices(layers, shape.layers, "layer") if reader.has_attention(layer)]
    chosen_heads, unembedding = _indices(heads, shape.heads, "head"), reader.unembedding()
    tasks, sources = plan_tasks(pairs, len(unembedding), device)
    _check_k_max(k_max, len(unembedding))
    keep_freed_memory()
    workers = 1 if torch.device(device).type != "cpu" else (threads or torch.get_num_threads())
    batch = heads_at_once(len(unembedding), shape, len(sources), len(pairs), compute, memory_mb, workers)

    state = reader.first_state(first_mlp, first_experts)
    embedded, lifted = _states(reader, sources, compute, "embedding" if chosen_layers in ([], [0]) else state)
    result = _no_ranks(chosen_layers, shape.layers, chosen_heads, k_max, len(pairs))
    finding = Salient(reader, salient, state, compute, len(chosen_layers), len(chosen_heads)) if salient else None
    hits: list[dict[str, np.ndarray]] = []
    fitted, scale = Batches("memory_mb", one="a head"), _largest(unembedding)
    with _Pool(workers) as pool:
        for at, layer in enumerate(chosen_layers):
            value, output = reader.value_weights(layer), reader.output_weights(layer)
            x = embedded if layer == 0 else lifted
            bound = scale * shape.width**2 * shape.value_width * _largest(output) * _largest(value) * _largest(x)
            _check_bound(bound, compute, f"Model {folder}: the weights of layer {layer} overflow in {dtype}")
            both = [result[name][at] for name in ("rank_direct", "rank_suppression")]
            find = finding.finder(pool, at, layer, value, len(output) // len(value)) if finding else None
            work = partial(_map_some, pool, value, output, x, unembedding, tasks, k_max, layer, both, find)
            numbered = list(enumerate(chosen_heads))
            for first in range(0, len(numbered), batch):
                hits += chain.from_iterable(fitted.run(work, numbered[first : first + batch]))
            if progress:
                progress(layer)
    return result | (finding.found if finding else {}) | _columns(hits)


def _check_k_max(k_max: int, vocabulary: int) -> None:
    if not 1 <= k_max <= vocabulary:
        raise AtlasError(f"k_max must be between 1 and the vocabulary of {vocabulary}, not {k_max}.")


def _states(
    reader: WeightReader, sources: Int[Tensor, " sources"], compute: torch.dtype, state: str
) -> tuple[Float[Tensor, "sources width"], Float[Tensor, "sources width"]]:
    """What layer 0 reads of each source, and what the layers above read: `state` as first_state gives it."""
    embedded = reader.embedded(sources, compute)
    lifted = reader.lifted(embedded, state)
    dtype = str(compute).removeprefix("torch.")
    _check_bound(_largest(lifted), compute, f"Model {reader.folder}: the first MLP overflows in {dtype}")
    return embedded, lifted


def _columns(hits: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The hits of all heads under each other; columns of length 0 where there is none."""
    return {
        name: np.concatenate([np.zeros(0, kind), *(columns[name] for columns in hits)])
        for name, kind in HIT_DTYPES.items()
    }


def _map_some(
    pool: _Pool,
    value: Float[Tensor, "kv_heads width value_width"],
    output: Float[Tensor, "heads value_width width"],
    x: Float[Tensor, "sources width"],
    unembedding: Float[Tensor, "vocabulary width"],
    tasks: list[Task],
    k_max: int,
    layer: int,
    both: list[Int[np.ndarray, "heads pairs"]],
    find: Finder | None,
    some: Sequence[tuple[int, int]],
) -> list[dict[str, np.ndarray]]:
    """The hits of `some` heads (place among the chosen ones, number) of a layer; their ranks are written into `both`.

    x: what the layer reads of each source.
    """
    heads, group = [head for _, head in some], len(output) // len(value)
    outputs = output[heads].to(x.dtype)
    maps = _head_maps(pool, outputs, unembedding)
    if find is not None:
        find(some, outputs, maps)
    states = [x @ value[head // group].to(x.dtype) for head in heads]
    rows = slice(some[0][0], some[-1][0] + 1)
    found = _rank_heads(pool, states, maps, tasks, k_max, [ranks[rows] for ranks in both])
    return [_hit_columns(layer, head, hits) for head, hits in zip(heads, found, strict=True)]


def _check_bound(bound: float, compute: torch.dtype, problem: str) -> None:
    """Raises AtlasError where logits of size `bound` do not fit: comparisons with an overflow would be silent."""
    if not bound < torch.finfo(compute).max:
        raise AtlasError(f"{problem}; check the checkpoint.")


def _no_ranks(layers: list[int], depth: int, heads: list[int], k_max: int, pairs: int) -> dict[str, np.ndarray]:
    """The result of map_heads before anything is ranked, without its hits."""
    shape = len(layers), len(heads), pairs
    return {
        "layers": np.array(layers, np.int32),
        "depth": np.array(depth, np.int32),
        "heads": np.array(heads, np.int32),
        "k_max": np.array(k_max, np.int32),
        "rank_direct": np.zeros(shape, np.int32),
        "rank_suppression": np.zeros(shape, np.int32),
    }


def _rank_heads(
    pool: _Pool,
    states: list[Float[Tensor, "sources value_width"]],
    maps: Float[Tensor, "heads vocabulary value_width"],
    tasks: list[Task],
    k_max: int,
    both: list[Int[np.ndarray, "heads pairs"]],
) -> list[list[Int[np.ndarray, "hits 4"]]]:
    """The hits of each head, task by task; the ranks, direct and suppression, are written into `both`."""
    jobs = [(i, task) for i in range(len(states)) for task in tasks]
    parts = pool.map(partial(_rank_job, states, maps, k_max), jobs)
    found: list[list[np.ndarray]] = [[] for _ in states]
    for (i, task), (direct, suppression, rows) in zip(jobs, parts, strict=True):
        both[0][i, task.pairs] = direct
        both[1][i, task.pairs] = suppression
        found[i].append(rows)
    return found


def _rank_job(
    states: list[Float[Tensor, "sources value_width"]],
    maps: Float[Tensor, "heads vocabulary value_width"],
    k_max: int,
    job: tuple[int, Task],
) -> tuple[Int[np.ndarray, " comparisons"], Int[np.ndarray, " comparisons"], Int[np.ndarray, "hits 4"]]:
    head, task = job
    return rank_pairs(states[head][task.span], maps[head], task, k_max)


def _largest(tensor: Float[Tensor, "*shape"]) -> float:
    """The largest absolute value."""
    low, high = tensor.aminmax()
    return max(-float(low), float(high))


def _head_maps(
    pool: _Pool,
    output: Float[Tensor, "heads value_width width"],
    unembedding: Float[Tensor, "vocabulary width"],
) -> Float[Tensor, "heads vocabulary value_width"]:
    """(heads, V, value_width): U W_O^T of each head. output: (heads, value_width, width); unembedding: (V, width)."""
    heads, width = output.shape[:2]
    weight = output.reshape(heads * width, -1).T
    maps = output.new_empty(len(unembedding), heads * width)

    def fill(start: int) -> None:  # one wide product beats one per head
        part = slice(start, start + VOCABULARY_STEP)
        torch.mm(unembedding[part].to(output.dtype), weight, out=maps[part])

    pool.map(fill, range(0, len(unembedding), VOCABULARY_STEP))
    return maps.view(-1, heads, width).transpose(0, 1)


def _hit_columns(layer: int, head: int, rows: list[Int[np.ndarray, "hits 4"]]) -> dict[str, np.ndarray]:
    """The hits of one head as columns, direct before suppression, then by pair and target."""
    sign, pair, target, rank = np.concatenate(rows).T
    order = np.argsort(((sign < 0) * (pair.max(initial=0) + 1) + pair) * (target.max(initial=0) + 1) + target)
    columns = (np.full(len(order), layer), np.full(len(order), head), sign, pair, target, rank)
    return {name: column[order].astype(kind) for (name, kind), column in zip(HIT_DTYPES.items(), columns, strict=True)}


def _indices(chosen: Iterable[int] | None, size: int, what: str) -> list[int]:
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

    def __init__(self, workers: int) -> None:
        self._threads = (
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) if workers > 1 else None
        )

    def map(self, function: Callable[[_Given], _Found], tasks: Sequence[_Given]) -> list[_Found]:
        return list(map(function, tasks) if self._threads is None else self._threads.map(function, tasks))

    def __enter__(self) -> _Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
