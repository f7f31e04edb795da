"""Time and memory of a Ships pass over all heads, against the published algorithm and against simple batching.

    python benchmarks/ships.py [--model results/models/smollm2-135m-instruct] [--prompts 16] [--layers 2] [--rounds 3]

One ablation (scaling by 1e-5), all heads, the first prompts of results/datasets/harmbench.parquet:
    published    one full forward with LM head per (head, prompt) at batch 1, as the published code does
    batched      the best simple batching: full forwards of many (head, prompt) pairs of equal length, no padding, LM
                 head for the last token only, nothing shared
    atlas        ours: one clean pass, each head continued from its layer
    atlas_bf16   ours with the weights in bfloat16
Published and batched take the same time for every head, so they run a sample and one layer; ours runs all heads of
`--layers` layers, symmetric in depth, so that their mean depth is that of all layers. The variants take
turns, ratios are medians over rounds, seconds are scaled to all heads. The clean pass counts in full. The floor is ours
counted in operations at the rate of a product measured in the same run. `--accuracy` measures what bfloat16 costs.
Writes results/benchmarks/ships.csv; exits non-zero if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from side_by_side import (
    ROOT,
    Row,
    alternate,
    child,
    finish,
    gemm_rate,
    operations,
    options,
    peak_mib,
    ratio,
    reset_peak,
    row,
    timer,
)

if TYPE_CHECKING:
    import torch
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

    from atlas.analyses.safety_heads.extract import HeadAblation

TEMPLATE = "## Query:{q}\n## Answer:"
BARS = {("atlas", "published"): 4.0, ("atlas", "batched"): 1.6, ("atlas_bf16", "published"): 10.0}
# The bar of bfloat16 is for machines whose products in it run at this many times the rate of float32.
HALF_RATE = 2.0


def load(arguments: argparse.Namespace, dtype: str) -> tuple[PreTrainedModel, list[list[int]]]:
    """(model, token ids of each prompt)."""
    from atlas.analyses.safety_heads.queries import SHIPS, build_queries
    from atlas.data.chat import Prompter
    from atlas.models.limits import read_limits
    from atlas.models.loading import load_model, load_tokenizer
    from atlas.results.files import read_frame

    rows = read_frame(arguments.dataset).head(arguments.prompts)
    prompter, limits = Prompter(load_tokenizer(arguments.model), "model"), read_limits(arguments.model)
    prompts, _ = build_queries(prompter, rows, TEMPLATE, limits, SHIPS)
    return load_model(arguments.model, device=arguments.device, dtype=dtype), list(map(list, prompts))


def scale_head(module: torch.nn.Linear, number: int, heads: Sequence[int]) -> RemovableHandle:
    """A hook on the output projection: row r of the batch has head heads[r] of `number` scaled by 1e-5."""
    import torch

    factors = torch.ones(len(heads), number)
    factors[range(len(heads)), list(heads)] = 1e-5
    width = module.in_features // number
    factors = factors.repeat_interleave(width, 1)[:, None].to(module.weight)
    return module.register_forward_pre_hook(lambda _, args: (args[0] * factors,))


def projection(model: PreTrainedModel, layer: int) -> torch.nn.Linear:
    """The output projection of a layer's attention."""
    import torch

    from atlas.models.architectures import attention_modules, output_projection

    found = output_projection(attention_modules(model)[layer])
    assert isinstance(found, torch.nn.Linear), "Ships is timed on models whose projections are linear layers"
    return found


def published(model: PreTrainedModel, prompts: Sequence[list[int]], pairs: Sequence[tuple[int, int]]) -> int:
    """One full forward for each (layer, head) of `pairs` and prompt; returns the number of heads."""
    import torch

    for layer, head in pairs:
        handle = scale_head(projection(model, layer), model.config.num_attention_heads, [head])
        for prompt in prompts:
            model(torch.tensor([prompt], device=model.device), use_cache=False).logits[0, -1].log_softmax(-1)
        handle.remove()
    return len(pairs)


def batched(model: PreTrainedModel, prompts: Sequence[list[int]], layer: int, heads: Sequence[int], rows: int) -> int:
    """Full forwards of `rows` (head, prompt) pairs of equal length; returns the number of heads."""
    import torch

    lengths: dict[int, list[list[int]]] = {}
    number = model.config.num_attention_heads
    for prompt in prompts:
        lengths.setdefault(len(prompt), []).append(prompt)
    for group in lengths.values():
        pairs = [(head, prompt) for head in heads for prompt in group]
        for start in range(0, len(pairs), rows):
            part = pairs[start : start + rows]
            handle = scale_head(projection(model, layer), number, [head for head, _ in part])
            ids = torch.tensor([prompt for _, prompt in part], device=model.device)
            model(ids, use_cache=False, logits_to_keep=1).logits[:, -1].log_softmax(-1)
            handle.remove()
    return len(heads)


def depths(layers: int, number: int) -> list[int]:
    """`number` layers (rounded up to an even one) whose mean depth is that of all layers; all of them if so many."""
    if number >= layers:
        return list(range(layers))
    half = -(-number // 2)
    lower = [round((layers / 2) * (2 * i + 1) / (2 * half) - 0.5) for i in range(half)]
    return sorted({*lower, *(layers - 1 - layer for layer in lower)})


def compare(arguments: argparse.Namespace) -> list[Row]:
    """Rows of the comparison; seconds are of all heads."""
    import torch

    from atlas.analyses.safety_heads.extract import HeadAblation

    model, prompts = load(arguments, "float32")
    half, _ = load(arguments, "bfloat16")
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    depth, total = depths(layers, arguments.layers), layers * heads
    sample = [(i * 7 % layers, i % heads) for i in range(arguments.sample)]
    prepared: dict[PreTrainedModel, HeadAblation] = {}
    now = timer(arguments.clock, arguments.device)

    def ours(net: PreTrainedModel) -> None:
        for layer in depth:
            prepared[net].effects("scaling", [[(layer, head)] for head in range(heads)])

    variants = {
        "published": lambda: published(model, prompts, sample),
        "batched": lambda: batched(model, prompts, layers // 2, range(heads), arguments.rows),
        "atlas": lambda: ours(model),
        "atlas_bf16": lambda: ours(half),
    }
    run = {"published": len(sample), "batched": heads}
    scale = {name: total / run.get(name, len(depth) * heads) for name in variants}
    clean: dict[str, float] = {}
    rate: dict[str, float] = {}
    with torch.no_grad():
        published(model, prompts[:2], [(0, 0)])
        for name, net in (("atlas", model), ("atlas_bf16", half)):
            HeadAblation(net, prompts[:2], [0], epsilon=1e-5)  # weights are mapped, buffers are made
            start = now()
            prepared[net] = HeadAblation(net, prompts, depth, epsilon=1e-5, max_rows=arguments.max_rows)
            clean[name] = now() - start
        work = scale["atlas"] * operations(lambda: ours(model))
        seconds = alternate(variants, arguments.rounds, arguments.clock)
        for name, net in (("atlas", model), ("atlas_bf16", half)):
            rate[name] = gemm_rate(net.dtype, device=net.device.type, clock=arguments.clock)
    seconds = {name: [x * scale[name] + clean.get(name, 0) for x in found] for name, found in seconds.items()}
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    note = (
        f"{len(prompts)} prompts, {total} heads, from {len(depth)} of {layers} layers, {arguments.threads} thread(s), "
    )
    note += arguments.device
    rows = []
    for name, other in BARS:
        bar, remark = bar_where(name, other, rate) if arguments.device == "cpu" else (None, "")
        times: dict[str, Any] = {"ours_seconds": middle[name], "floor_seconds": work / rate[name]}
        times["note"] = note + remark
        times |= {"published_seconds": middle["published"], "simple_seconds": middle["batched"]}
        measure = f"ships{'' if name == 'atlas' else ' in bfloat16'} over {other}"
        rows.append(row(measure, ratio(seconds[other], seconds[name]), bar, **times))
    return rows


def bar_where(name: str, other: str, rate: Mapping[str, float]) -> tuple[float | None, str]:
    """(bar of `name` over `other`, remark for the note) where products run at `rate` {variant: operations per second}.

    bfloat16 has a bar only where the machine multiplies it fast enough; elsewhere the remark says so.
    """
    times = rate["atlas_bf16"] / rate["atlas"]
    if name != "atlas_bf16" or times >= HALF_RATE:
        return BARS[name, other], ""
    return None, (
        f"; no bar: products in bfloat16 run at {times:.2f} times the rate of float32 here, and the bar of "
        f"{BARS[name, other]:g} is for {HALF_RATE:g} and more"
    )


def accuracy(arguments: argparse.Namespace) -> Iterator[Row]:
    """What bfloat16 loses: differences in degrees and shared heads among the ten strongest, both ablations."""
    import numpy as np

    from atlas.analyses.safety_heads.extract import extract
    from atlas.analyses.safety_heads.ships import ships

    found = {}
    for dtype in ("float32", "bfloat16"):
        model, prompts = load(arguments, dtype)
        start = time.perf_counter()
        found[dtype] = extract(
            model, prompts, ablations=["undifferentiated", "scaling"], epsilon=1e-5, shards=arguments.every
        )
        print(
            f"every {arguments.every}. layer, both ablations, {dtype}: {time.perf_counter() - start:.1f} s", flush=True
        )
    for ablation in ("undifferentiated", "scaling"):
        for rank in (1, 3):
            a, b = (ships(f["clean.gram"], f[f"{ablation}.gram"], rank).ravel() for f in found.values())
            top = [set(np.argsort(-x)[:10].tolist()) for x in (a, b)]
            difference = np.abs(a - b)
            yield row(
                f"bfloat16 of ships, {ablation}, R = {rank}",
                agreement=float(np.median(difference)),
                note=f"degrees in the median, {difference.max():.4f} at most where the largest score is "
                f"{a.max():.3f}; {len(top[0] & top[1])} of the ten strongest shared",
            )


def peak(arguments: argparse.Namespace) -> None:
    """Peak memory in MiB over one layer of all heads, in this process."""
    import torch

    from atlas.analyses.safety_heads.extract import HeadAblation

    model, prompts = load(arguments, "float32")
    ids = torch.tensor(prompts[:1], device=model.device)
    model(input_ids=ids, use_cache=False, logits_to_keep=1)  # the weights are mapped: touch them
    reset_peak(arguments.device)
    before = peak_mib(arguments.device)
    ablation = HeadAblation(model, prompts, [0], epsilon=1e-5, max_rows=arguments.max_rows)
    ablation.effects("scaling", [[(0, head)] for head in range(model.config.num_attention_heads)])
    print(json.dumps({"rows": ablation.max_rows, "added": peak_mib(arguments.device) - before}))


def main() -> int:
    parser = options(__doc__, "ships")
    parser.add_argument("--dataset", type=Path, default=ROOT / "results/datasets/harmbench.parquet")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=2, help="layers that ours runs on")
    parser.add_argument("--sample", type=int, default=3, help="heads that the published way runs per round")
    parser.add_argument("--rows", type=int, default=32, help="(head, prompt) pairs of one simple batch")
    parser.add_argument("--max-rows", type=int, default=None)
    parser.add_argument("--every", type=int, default=1, help="layers that the accuracy of bfloat16 is measured on")
    parser.add_argument("--accuracy", action="store_true", help="measure what bfloat16 costs (minutes)")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        peak(arguments)
        return 0
    rows = compare(arguments)
    for setting in () if arguments.skip_memory else (16, None):
        command = ["--peak", "--model", arguments.model, "--dataset", arguments.dataset, "--device", arguments.device]
        found = child(__file__, command + ([] if setting is None else ["--max-rows", setting]), arguments.threads)
        rows.append(row(f"ships memory, max_rows {setting or 'auto'}", ours_mib=found["added"], note="above the model"))
    rows += accuracy(arguments) if arguments.accuracy else []
    return finish(rows, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
