"""How cost grows: column statistics with tokens, Ships with prompts and heads, MAPS with heads, Min-K% with tokens,
and what each further shard costs.

    python benchmarks/growth.py [--only ships_heads min_k_tokens] [--large] [--clock cpu] [--rounds 2]

    column_statistics   two layers of a random Llama of SmolLM2's shape, one text; `output_attentions` the usual way on
                        the same model, left out where its maps need more than --memory-mb
    ships_prompts       all heads of two layers, clean pass included; the prompts are those of HarmBench
    ships_heads         four prompts; heads of as many layers as are needed, symmetric in depth
    maps_heads          every 4th pair of data/relations, files and E' included; heads of as many layers as are needed
    min_k_tokens        the first texts of data/depth, whose tokens are counted
    shards              Min-K% of 12 texts in n processes, each with imports and loading: their processor seconds added

Each series runs in a process of its own, sizes in turn (small to large, so that the highest memory so far is that of
the size); seconds are the least of the rounds, memory is above the loaded model. Exponents are fitted by least squares
on logarithms. Writes results/benchmarks/growth.csv (exponents in the form that all benchmarks share),
growth_points.csv, growth.md and a figure growth.{pdf,svg,png}; exits non-zero where cost grows faster than its bar.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from growth_report import SERIES, Point, draw, markdown, summary, table
from side_by_side import ROOT, child, finish, options, peak_mib, reset_peak, synchronise, timer, write

Calls = dict[int, Callable[[], object]]  # a size of the series' axis -> what is timed there

# series -> sizes by default and with --large; of min_k_tokens the texts
SIZES = {
    "column_statistics": ((256, 512, 1024, 2048, 4096), (256, 512, 1024, 2048, 4096, 8192)),
    "output_attentions": ((256, 512, 1024, 2048, 4096), (256, 512, 1024, 2048, 4096, 8192)),
    "ships_prompts": ((1, 2, 4, 8), (1, 2, 4, 8, 16)),
    "ships_heads": ((2, 6, 18, 36), (2, 6, 18, 36, 90, 270)),
    "maps_heads": ((1, 2, 6, 18), (1, 2, 6, 18, 54, 144)),
    "min_k_tokens": ((2, 4, 8, 16), (2, 4, 8, 16, 32, 64, 128)),
    "shards": ((1, 2, 3), (1, 2, 4, 8)),
}
LAYERS = 2  # of the column statistics and of Ships
SHARD_TEXTS = 12


def maps_mib(tokens: int, layers: int = LAYERS, heads: int = 9) -> float:
    """MiB of all attention maps of one text in float32."""
    return layers * heads * tokens**2 * 4 / 2**20


def affordable(tokens: Sequence[int], memory_mb: float) -> list[int]:
    """The lengths whose maps `output_attentions` can hold: one layer's scores and softmax come on top of all maps."""
    return [t for t in tokens if maps_mib(t) * (LAYERS + 1) / LAYERS <= memory_mb]


def column_statistics(arguments: argparse.Namespace) -> Calls:
    """By tokens."""
    import torch
    from column_statistics import build, run

    model = build(LAYERS, max(arguments.sizes))
    variant = "eager" if arguments.series == "output_attentions" else "atlas"
    if variant == "eager":
        model.set_attn_implementation("eager")
    ids = torch.randint(0, 512, (1, max(arguments.sizes)), generator=torch.Generator().manual_seed(1))
    return {tokens: partial(run, variant, model, ids[:, :tokens]) for tokens in arguments.sizes}


def spread(layers: int, heads: int, number: int) -> dict[int, list[int]]:
    """{layer: heads}: `number` heads, equally many in each of as few layers (two at least) as hold them."""
    from ships import depths

    if number == 1:
        return {layers // 2: [0]}
    chosen = depths(layers, max(2, -(-number // heads)))
    share = -(-number // len(chosen))
    return {layer: list(range(share)) for layer in chosen}


def ships_calls(arguments: argparse.Namespace) -> Calls:
    """By prompts or heads."""
    from ships import load

    from atlas.analyses.safety_heads.extract import HeadAblation

    by_heads = arguments.series == "ships_heads"
    prompts = 4 if by_heads else max(arguments.sizes)
    dataset = ROOT / "results/datasets/harmbench.parquet"
    model, found = load(argparse.Namespace(model=arguments.model, dataset=dataset, prompts=prompts), "float32")
    if len(found) < prompts:
        raise SystemExit(f"{dataset} has {len(found)} prompts, {prompts} are asked for.")
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads

    def run(number: int) -> None:
        chosen = spread(layers, heads, number if by_heads else LAYERS * heads)
        ablation = HeadAblation(model, found if by_heads else found[:number], list(chosen), epsilon=1e-5)
        for layer, some in chosen.items():
            ablation.effects("scaling", [[(layer, head)] for head in some])

    sizes = [sum(map(len, spread(layers, heads, n).values())) for n in arguments.sizes] if by_heads else arguments.sizes
    return {size: partial(run, n) for size, n in zip(sizes, arguments.sizes, strict=True)}


def maps_calls(arguments: argparse.Namespace) -> Calls:
    """By heads."""
    from atlas.analyses.head_categories.extract import map_heads
    from atlas.analyses.head_categories.pairs import single_token_pairs
    from atlas.data.kinds import prepare
    from atlas.models.architectures import read_shape
    from atlas.models.limits import read_limits
    from atlas.models.loading import load_tokenizer

    pairs, _ = prepare("relations", {}, ROOT / "data/relations")
    pairs = single_token_pairs(pairs, load_tokenizer(arguments.model), read_limits(arguments.model))[0]
    pairs = pairs.iloc[::4].reset_index(drop=True)
    shape = read_shape(arguments.model)

    def run(number: int) -> None:
        layers = spread(shape.layers, shape.heads, number)
        heads = next(iter(layers.values()))
        map_heads(arguments.model, pairs, list(layers), heads=heads, threads=arguments.threads)

    sizes = [sum(map(len, spread(shape.layers, shape.heads, n).values())) for n in arguments.sizes]
    return {size: partial(run, n) for size, n in zip(sizes, arguments.sizes, strict=True)}


def min_k_calls(arguments: argparse.Namespace) -> Calls:
    """By tokens."""
    from min_k import texts

    from atlas.analyses.mink.extract import extract
    from atlas.models.loading import load_model

    model = load_model(arguments.model, device="cpu", dtype="float32")
    sequences = texts(arguments.model, ROOT / "data/depth/depth.jsonl", max(arguments.sizes))
    return {
        sum(len(s.ids) for s in sequences[:n]): partial(extract, model, {"answer": sequences[:n]}, batch_tokens=1024)
        for n in arguments.sizes
    }


CALLS = {
    "column_statistics": column_statistics,
    "output_attentions": column_statistics,
    "ships_prompts": ships_calls,
    "ships_heads": ships_calls,
    "maps_heads": maps_calls,
    "min_k_tokens": min_k_calls,
}
# Weights are mapped files there, read layer by layer: what is resident is theirs, not that of the computation.
NO_MEMORY = ("maps_heads",)


def give_back() -> None:
    """Let glibc hand freed memory back, or what the smallest size needs is counted as there before."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def one_series(arguments: argparse.Namespace) -> list[Point]:
    """The points (x, seconds, mib) of the series in this process."""
    calls = CALLS[arguments.series](arguments)
    now = timer(arguments.clock)
    next(iter(calls.values()))()  # weights are mapped, buffers are made
    give_back()
    reset_peak()
    before, least, held = peak_mib(), dict.fromkeys(calls, math.inf), dict[int, float]()
    for turn in range(arguments.rounds):
        for x, call in calls.items():
            start = now()
            call()
            synchronise()
            least[x] = min(least[x], now() - start)
            if turn == 0 and arguments.series not in NO_MEMORY:
                held[x] = peak_mib() - before
    return [{"x": x, "seconds": least[x], "mib": held.get(x)} for x in calls]


def one_shard(arguments: argparse.Namespace) -> dict[str, float]:
    """{seconds, loaded}: processor seconds of one shard from the start of its process, and of them until loaded."""
    from min_k import texts

    from atlas.analyses.mink.extract import extract
    from atlas.models.loading import load_model

    sequences = texts(arguments.model, ROOT / "data/depth/depth.jsonl", SHARD_TEXTS)
    model = load_model(arguments.model, device="cpu", dtype="float32")
    loaded = time.process_time()
    # Small batches, so that eight shards have several each.
    extract(model, {"answer": sequences}, batch_tokens=128, shard=arguments.shard, shards=arguments.shards)
    return {"seconds": time.process_time(), "loaded": loaded}


def points_file(arguments: argparse.Namespace) -> Path:
    """The csv of the points, beside that of the exponents."""
    return arguments.output.with_name(f"{arguments.output.stem}_points.csv")


def measure(arguments: argparse.Namespace) -> tuple[dict[str, list[Point]], dict[str, str]]:
    """({series: points}, {series: note})."""
    common = ["--model", arguments.model, "--threads", arguments.threads, "--clock", arguments.clock]
    measured: dict[str, list[Point]] = {}
    notes: dict[str, str] = {}
    for name in arguments.only:
        sizes, start = list(SIZES[name][arguments.large]), time.perf_counter()
        if name == "output_attentions":
            kept = affordable(sizes, arguments.memory_mb)
            if left := [t for t in sizes if t not in kept]:
                notes[name] = f"left out from {left[0]:,} tokens on: the maps alone take {maps_mib(left[0]):,.0f} MiB"
            sizes = kept
        if name == "shards":
            measured[name], loaded = [], []
            for n in sizes:
                parts = [
                    child(__file__, ["--series", name, "--shard", i, "--shards", n, *common], arguments.threads)
                    for i in range(1, n + 1)
                ]
                measured[name].append({"x": n, "seconds": sum(part["seconds"] for part in parts)})
                loaded += [part["loaded"] for part in parts]
            notes[name] = f"{sum(loaded) / len(loaded):.1f} s until texts and model are there, measured in each"
        else:
            given = ["--series", name, "--rounds", arguments.rounds, *common, "--sizes", *sizes]
            measured[name] = child(__file__, given, arguments.threads)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        write(table(measured), points_file(arguments))  # a run that is stopped keeps what it has
    return measured, notes


def main() -> int:
    parser = options(__doc__, "growth")
    parser.add_argument("--only", nargs="+", choices=list(SERIES), default=list(SERIES))
    parser.add_argument("--large", action="store_true", help="more tokens, prompts, heads, texts and shards")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory-mb", type=float, default=1024, help="what output_attentions may hold in maps")
    parser.add_argument("--series", choices=list(SERIES), help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments.series:
        import torch

        torch.set_num_threads(arguments.threads)
        print(json.dumps(one_shard(arguments) if arguments.series == "shards" else one_series(arguments)))
        return 0
    measured, notes = measure(arguments)
    points = table(measured)
    rows = summary(points, notes)
    where = (
        f"{arguments.model.name} (column statistics: {LAYERS} layers of a random model of the shape of SmolLM2-135M), "
        f"float32, {arguments.threads} thread(s), {'processor' if arguments.clock == 'cpu' else 'wall'} time, "
        f"least of {arguments.rounds} round(s); dashed: least squares on logarithms"
    )
    path = arguments.output
    path.with_suffix(".md").write_text(markdown(points, rows, where))
    draw(points, where, path.with_suffix(""))
    return finish(rows, path)


if __name__ == "__main__":
    sys.exit(main())
