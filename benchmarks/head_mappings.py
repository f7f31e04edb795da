"""Head mappings: ours against the published algorithm, side by side in one run.

The published algorithm, written from its description (Elhelo & Geva, ACL 2025): for every head and relation form the
d x d matrix W_VO = W_V W_O, project E' W_VO onto the whole vocabulary, take the top k of every row, and again of the
negated rows for suppression. It is given E' for free. Ours is the whole call of `map_heads`, files and E' included, and
keeps every rank instead of top-k hits.

    python benchmarks/head_mappings.py [--model FOLDER] [--data data/relations] [--layers 3] [--heads 4]

Both run alternately, each in a process of its own: ours keeps freed memory for its next tensors, which a published
script would not (--shared-memory gives that to both). Before the clock starts ours has run once and the published way
on one head: a job of many heads pays for libraries and fresh pages once. Its csv holds
the times, the median of their ratios, whether all scores are equal, and the peak of anonymous memory that each adds
in that first run. --all times ours on every head.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from side_by_side import ROOT, Worker, bar_on, finish, gemm_rate, operations, peak_mib, reset_peak, row, synchronise
from side_by_side import options as common_options

from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_categories.pairs import single_token_pairs
from atlas.data.kinds import prepare
from atlas.models.limits import read_limits
from atlas.models.loading import load_tokenizer
from atlas.models.memory import keep_freed_memory
from atlas.models.weights import WeightReader

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float

SIGNS = ("direct", "suppression")
Hits = dict[tuple[int, int, str, str], int]  # (layer, head, relation, sign) -> pairs whose target is in the top k
Result = TypeVar("Result")


def published(
    reader: WeightReader,
    embedded: Float[torch.Tensor, "pairs width"],
    lifted: Float[torch.Tensor, "pairs width"],
    unembedding: Float[torch.Tensor, "vocabulary width"],
    pairs: pd.DataFrame,
    layers: Sequence[int],
    heads: Sequence[int],
    k: int,
) -> Hits:
    """Hits by the published algorithm; `embedded` is E' of layer 0, `lifted` that of all others."""
    counts: Hits = {}
    groups = dict(list(pairs.groupby("relation")))
    for layer in layers:
        value, output = (part(layer).to(unembedding.device) for part in (reader.value_weights, reader.output_weights))
        states = embedded if layer == 0 else lifted
        for head in heads:
            for relation, group in groups.items():
                w_vo = value[head // reader.shape.group] @ output[head]
                mapped = states[group.index.tolist()] @ w_vo @ unembedding.T
                target = torch.tensor(group["target_id"].tolist(), device=unembedding.device)[:, None]
                for sign, logits in zip(SIGNS, (mapped, -mapped), strict=True):
                    top = logits.topk(k, dim=1).indices
                    counts[layer, head, relation, sign] = int((top == target).any(1).sum())
    return counts


def ours(result: Mapping[str, np.ndarray], pairs: pd.DataFrame, k: int) -> Hits:
    """Hits from what map_heads returned."""
    counts: Hits = {}
    relation = pairs["relation"].to_numpy().astype(str)
    for name in sorted(set(relation)):
        for sign in SIGNS:
            hits = (result[f"rank_{sign}"][:, :, relation == name] < k).sum(-1)
            for (i, j), count in np.ndenumerate(hits):
                counts[int(result["layers"][i]), int(result["heads"][j]), name, sign] = int(count)
    return counts


class Peak:
    """Peak of anonymous memory (not the mapped files) above the start of the block, in MiB; Linux."""

    def __enter__(self) -> Peak:
        self._stop, self._base, self.mib = threading.Event(), self._now(), 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.mib = max(self.mib, self._now() - self._base)

    @staticmethod
    def _now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def timed(function: Callable[[], Result]) -> tuple[Result, float, float, float]:
    """(result, seconds, processor seconds, peak MiB) of a call; where a GPU is used, its peak."""
    gpu = torch.cuda.is_initialized()
    if gpu:
        reset_peak("cuda")
    wall, cpu = time.perf_counter(), time.process_time()
    with Peak() as peak:
        result = function()
        synchronise()
    return result, time.perf_counter() - wall, time.process_time() - cpu, peak_mib("cuda") if gpu else peak.mib


def inputs(options: argparse.Namespace) -> tuple[pd.DataFrame, WeightReader, list[int], list[int]]:
    """(pairs, reader, layers, heads) of a run."""
    pairs, _ = prepare("relations", {}, Path(options.data))
    pairs, _ = single_token_pairs(pairs, load_tokenizer(options.model), read_limits(options.model))
    reader = WeightReader(options.model)
    layers = np.unique(np.linspace(1, reader.shape.layers - 1, options.layers).astype(int)).tolist()
    heads = np.unique(np.linspace(0, reader.shape.heads - 1, options.heads).astype(int)).tolist()
    return pairs, reader, layers, heads


def serve(options: argparse.Namespace, variant: str) -> Callable[[str], tuple[Hits, float, float, float]]:
    """The function that runs a variant in its process, `warm` or `time`: (hits, seconds, processor seconds, MiB)."""
    torch.set_num_threads(options.threads)
    pairs, reader, layers, heads = inputs(options)
    if variant == "ours":
        given = {"threads": options.threads, "memory_mb": options.memory_mb, "device": options.device}

        def run(layers: Sequence[int], heads: Sequence[int]) -> Hits:
            return ours(map_heads(options.model, pairs, layers, heads=heads, **given), pairs, options.k)
    else:
        if options.shared_memory:
            keep_freed_memory()
        unembedding = reader.unembedding().float().to(options.device)
        embedded = reader.embedding_rows(torch.tensor(pairs["source_id"].tolist())).float()
        embedded, lifted = embedded.to(options.device), reader.first_mlp(embedded).to(options.device)

        def run(layers: Sequence[int], heads: Sequence[int]) -> Hits:
            return published(reader, embedded, lifted, unembedding, pairs, layers, heads, options.k)

    def answer(what: str) -> tuple[Hits, float, float, float]:
        few = what == "warm" and variant == "published"
        return timed(lambda: run(layers[:1], heads[:1]) if few else run(layers, heads))

    return answer


def main() -> int:
    parser = common_options(__doc__, "head_mappings", clock=False)
    parser.add_argument("--data", default=ROOT / "data/relations", help="a folder with relations.csv, or one file")
    parser.add_argument("--layers", type=int, default=3, help="layers, spread evenly, that both run on")
    parser.add_argument("--heads", type=int, default=4, help="heads of each of them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--all", action="store_true", help="then time ours on every layer and head")
    parser.add_argument("--shared-memory", action="store_true", help="the published way keeps freed memory too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    pairs, reader, layers, heads = inputs(options)
    shape, n = reader.shape, len(layers) * len(heads)
    print(f"{len(pairs)} pairs, {pairs['source_id'].nunique()} sources; {n} heads")
    workers = {variant: Worker(serve, options, variant) for variant in ("ours", "published")}
    peaks = {f"{variant}_peak_mib": worker("warm")[-1] for variant, worker in workers.items()}
    runs = []
    for repeat in range(options.repeats):
        scores, wall, cpu, _ = workers["ours"]("time")
        expected, *slow, _ = workers["published"]("time")
        differ = [key for key, count in expected.items() if scores[key] != count]
        runs.append((slow[0] / wall, slow[1] / cpu, wall, slow[0], len(differ)))
        print(
            f"run {repeat}: ours {wall:.2f} s (cpu {cpu:.2f}), published {slow[0]:.2f} s (cpu {slow[1]:.2f}); ratio "
            f"{runs[-1][0]:.2f} (cpu {runs[-1][1]:.2f}); scores that differ: {len(differ)} of {len(scores)}"
        )
    for worker in workers.values():
        worker.end()
    names = ("ratio", "cpu_ratio", "ours_s", "published_s", "scores_differing")
    summary = dict(zip(names, map(statistics.median, zip(*runs, strict=True)), strict=True)) | peaks
    note = f"{len(pairs)} pairs, {n} heads, {options.threads} thread(s), {options.device}"
    note += f"; CPU time ratio {summary['cpu_ratio']:.2f}"
    run = {"threads": options.threads, "memory_mb": options.memory_mb, "device": options.device}
    if options.all:
        _, wall, cpu, peak = timed(lambda: map_heads(options.model, pairs, **run))
        note += f"; all {shape.layers * shape.heads} heads {wall:.1f} s (CPU {cpu:.1f}), {peak:.0f} MiB"
    work = operations(lambda: map_heads(options.model, pairs, layers, heads=heads, **run | {"threads": 1}))
    rows = [
        row("head mappings over published", summary["ratio"], bar_on(options.device, 8.0), note=note,
            ours_seconds=summary["ours_s"], published_seconds=summary["published_s"], ours_mib=summary["ours_peak_mib"],
            published_mib=summary["published_peak_mib"],
            floor_seconds=work / gemm_rate(torch.float32, 1024, shape.value_width, 1024, options.device)),
        row("head mappings scores that differ", summary["scores_differing"], 0, most=True),
    ]  # fmt: skip
    return finish(rows, options.output)


if __name__ == "__main__":
    sys.exit(main())
