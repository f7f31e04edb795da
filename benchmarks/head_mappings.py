"""Head mappings: ours against the published algorithm, side by side in one run.

The published algorithm, written from its description (Elhelo & Geva, ACL 2025): for every head and relation form the
d x d matrix W_VO = W_V W_O, project E' W_VO onto the whole vocabulary, take the top k of every row, and again of the
negated rows for suppression. It is given E' for free. Ours is the whole call of `map_heads`, files and E' included, and
keeps every rank instead of top-k hits.

    python benchmarks/head_mappings.py [--model FOLDER] [--data data/relations] [--layers 3] [--heads 4]

Both run alternately; written to results/benchmarks/head_mappings.csv are the times, the median of their ratios,
whether all scores are equal, and the peak of anonymous memory that each adds. --all times ours on every head.
"""

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from side_by_side import RESULTS, ROOT, finish, gemm_rate, operations, row

from atlas.analyses.head_mappings import map_heads
from atlas.data.kinds import prepare
from atlas.data.relations import single_token_pairs
from atlas.models.loading import load_tokenizer
from atlas.models.weights import WeightReader

SIGNS = ("direct", "suppression")


def published(reader, embedded, lifted, unembedding, pairs, layers, heads, k) -> dict:
    """(layer, head, relation, sign) -> number of pairs whose target is among the top k."""
    counts = {}
    groups = dict(list(pairs.groupby("relation")))
    for layer in layers:
        value, output = reader.value_weights(layer), reader.output_weights(layer)
        states = embedded if layer == 0 else lifted
        for head in heads:
            for relation, group in groups.items():
                w_vo = value[head // reader.shape.group] @ output[head]
                mapped = states[group.index.tolist()] @ w_vo @ unembedding.T
                target = torch.tensor(group["target_id"].tolist())[:, None]
                for sign, logits in zip(SIGNS, (mapped, -mapped), strict=True):
                    top = logits.topk(k, dim=1).indices
                    counts[layer, head, relation, sign] = int((top == target).any(1).sum())
    return counts


def ours(result, pairs, k) -> dict:
    counts = {}
    relation = pairs["relation"].to_numpy().astype(str)
    for name in sorted(set(relation)):
        for sign in SIGNS:
            hits = (result[f"rank_{sign}"][:, :, relation == name] < k).sum(-1)
            for (i, j), count in np.ndenumerate(hits):
                counts[int(result["layers"][i]), int(result["heads"][j]), name, sign] = int(count)
    return counts


class Peak:
    """Peak of anonymous memory (not the mapped files) above the start of the block, in MiB; Linux."""

    def __enter__(self):
        self._stop, self._base, self.mib = threading.Event(), self._now(), 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.01):
            self.mib = max(self.mib, self._now() - self._base)

    @staticmethod
    def _now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    with Peak() as peak:
        result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu, peak.mib


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "results/models/smollm2-135m-instruct")
    parser.add_argument("--data", default=ROOT / "data/relations", help="a folder with relations.csv, or one file")
    parser.add_argument("--layers", type=int, default=3, help="layers, spread evenly, that both run on")
    parser.add_argument("--heads", type=int, default=4, help="heads of each of them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--all", action="store_true", help="then time ours on every layer and head")
    parser.add_argument("--output", type=Path, default=RESULTS / "head_mappings.csv")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    pairs, _ = prepare("relations", {}, Path(options.data))
    pairs, report = single_token_pairs(pairs, load_tokenizer(options.model))
    reader = WeightReader(options.model)
    shape = reader.shape
    layers = [int(i) for i in np.unique(np.linspace(1, shape.layers - 1, options.layers).astype(int))]
    heads = [int(i) for i in np.unique(np.linspace(0, shape.heads - 1, options.heads).astype(int))]
    n = len(layers) * len(heads)
    print(
        f"{len(pairs)} pairs, {pairs['source_id'].nunique()} sources, {int(report['used'].sum())} relations; {n} heads"
    )

    unembedding = reader.unembedding().float()
    embedded = reader.embedding_rows(torch.tensor(pairs["source_id"].tolist())).float()
    lifted = reader.first_mlp(embedded)
    run = {"threads": options.threads, "memory_mb": options.memory_mb}
    rows = []
    for repeat in range(options.repeats):
        result, wall, cpu, peak = timed(lambda: map_heads(options.model, pairs, layers, heads=heads, **run))
        slow = timed(lambda: published(reader, embedded, lifted, unembedding, pairs, layers, heads, options.k))
        scores = ours(result, pairs, options.k)
        differ = [key for key, count in slow[0].items() if scores[key] != count]
        rows.append((slow[1] / wall, slow[2] / cpu, wall, slow[1], peak, slow[3], len(differ)))
        print(
            f"run {repeat}: ours {wall:.2f} s (cpu {cpu:.2f}), published {slow[1]:.2f} s (cpu {slow[2]:.2f}); ratio "
            f"{rows[-1][0]:.2f} (cpu {rows[-1][1]:.2f}); peak added {peak:.0f} / {slow[3]:.0f} MiB; "
            f"scores that differ: {len(differ)} of {len(scores)}"
        )
    names = ("ratio", "cpu_ratio", "ours_s", "published_s", "ours_peak_mib", "published_peak_mib", "scores_differing")
    summary = dict(zip(names, map(statistics.median, zip(*rows, strict=True)), strict=True))
    note = f"{len(pairs)} pairs, {n} heads, {options.threads} thread(s); CPU time ratio {summary['cpu_ratio']:.2f}"
    if options.all:
        _, wall, cpu, peak = timed(lambda: map_heads(options.model, pairs, **run))
        note += f"; all {shape.layers * shape.heads} heads {wall:.1f} s (CPU {cpu:.1f}), {peak:.0f} MiB"
    work = operations(lambda: map_heads(options.model, pairs, layers, heads=heads, **run | {"threads": 1}))
    rows = [
        row("head mappings over published", summary["ratio"], 8.0, ours_seconds=summary["ours_s"], note=note,
            published_seconds=summary["published_s"], ours_mib=summary["ours_peak_mib"],
            published_mib=summary["published_peak_mib"],
            floor_seconds=work / gemm_rate(torch.float32, 1024, shape.value_width, 1024)),
        row("head mappings scores that differ", summary["scores_differing"], 0, most=True),
    ]  # fmt: skip
    return finish(rows, options.output)


if __name__ == "__main__":
    sys.exit(main())
