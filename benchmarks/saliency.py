"""Saliency of question-to-answer flow: this workflow against the usual way, side by side in one run.

    python benchmarks/saliency.py [--model results/models/smollm2-135m-instruct] [--clock cpu]

`eager` is the published way: the whole causal language model on whole texts without a cache, logits of all positions
and all layers included whichever the probe reads, with eager attention multiplied by a mask of ones whose gradient is
A * dL/dA; one forward and one backward pass, parameters frozen; summed over the tokens of the flows. `atlas` is the
workflow's extraction. Both give the same numbers: four flows, every head and every layer below the probe, for the
probe's logit. Random ids.

    shared      four texts of 1,024 tokens that share all but their last 64; atlas runs the shared part once for all
    alone       the same with one text, the shared part counted in full
    whole       one text of 1,024 tokens, all in the graph: the first exact question token is the first token
    whole_last  the same
    batch       texts of 128 tokens in batches of 8, all in the graph
    batch_last  the same

In `whole` and `batch` the probe reads the layer that the default run chose, in all others the last one, where nothing
is saved by stopping at it. The bars are what was aimed at; a missed one stays and is said to be missed.

Speed: each variant lives in a process of its own, eager in one that transformers alone has set up (ours keeps freed
memory, which a published script would not; --shared-memory gives that to eager too). It runs once before the clock
starts, because the first run pays for fresh memory; then they take turns; seconds are over all texts.
Memory: peak above the loaded model of one text (a batch), each in a process of its own. Floor: the linear layers of
ours at the rate of a product measured in the same run, nothing for attention and all else. Writes
results/benchmarks/saliency.csv and exits non-zero where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

from saliency_variants import CASES, VARIANTS, probe_of, texts
from side_by_side import (
    Seconds,
    Worker,
    alternate,
    bar_on,
    child,
    finish,
    gemm_rate,
    options,
    peak_mib,
    ratio,
    reset_peak,
    row,
    timer,
)

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

# The larger of the layers that the default run chose for SmolLM2-135M-Instruct (tables/probe_auroc, `chosen`: 24 for
# TriviaQA, 17 for Natural Questions), which is the harder one.
CHOSEN = 24
# case -> how many times as fast, and how many times less memory
BARS = {
    "shared": (4.0, 10.0),
    "alone": (None, None),
    "whole": (2.0, 3.0),
    "whole_last": (2.0, 3.0),
    "batch": (1.3, None),
    "batch_last": (1.3, None),
}


class Speed(NamedTuple):
    """seconds: variant -> those of each round; worst: largest difference over the largest value; floor: seconds."""

    seconds: dict[str, list[float]]
    worst: float
    floor: float


def read_layer(case: str, layers: int, chosen: int) -> int:
    """The hidden state that the probe reads."""
    return min(chosen, layers) if case in ("whole", "batch") else layers


def load(arguments: argparse.Namespace) -> tuple[PreTrainedModel, int, int]:
    """(model, layers, width) of a variant: ours as the workflow's jobs load it, eager by transformers alone."""
    import torch

    torch.set_num_threads(arguments.threads)
    dtype = arguments.dtype if arguments.variant == "atlas" else "float32"
    if arguments.variant == "atlas" or arguments.shared_memory:
        from atlas.models.loading import load_model

        model = load_model(arguments.model, device=arguments.device, dtype=dtype)
    else:
        from transformers import AutoModelForCausalLM

        model = (
            AutoModelForCausalLM.from_pretrained(arguments.model, dtype=getattr(torch, dtype))
            .eval()
            .to(arguments.device)
        )
        model.requires_grad_(False)
    return model, model.config.num_hidden_layers, model.config.hidden_size


def linear_layers(call: Callable[[], object]) -> int:
    """Floating-point operations of the linear layers inside `call`."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    counts = counter.get_flop_counts()["Global"]
    return sum(counts.get(operator, 0) for operator in (torch.ops.aten.mm, torch.ops.aten.addmm))


def serve(arguments: argparse.Namespace) -> Callable[[str, str], tuple[float | None, np.ndarray | None, int | None]]:
    """The function that runs a case in a worker and returns (seconds, sums, operations of its linear layers).

    It is asked to `time` the case, to `count` its operations, or to `warm` up on the first text or batch.
    """
    model, layers, width = load(arguments)
    now = timer(arguments.clock, arguments.device)

    def answer(case: str, what: str) -> tuple[float | None, np.ndarray | None, int | None]:
        samples, shared = texts(case, model.config.vocab_size)
        at_once = CASES[case].at_once
        if what == "warm":
            samples = samples[:at_once]
        probe = probe_of(samples, width, read_layer(case, layers, arguments.layer))
        found: dict[str, np.ndarray] = {}

        def run() -> None:
            found["sums"] = VARIANTS[arguments.variant](model, samples, shared, probe, at_once)

        if what == "count":
            return None, None, linear_layers(run)
        start = now()
        run()
        return now() - start, found["sums"], None

    return answer


def speed(arguments: argparse.Namespace) -> dict[str, Speed]:
    """What each case took and how far the results of the variants differ."""
    import numpy as np
    import torch

    torch.set_num_threads(arguments.threads)
    workers = {name: Worker(serve, argparse.Namespace(**vars(arguments) | {"variant": name})) for name in VARIANTS}
    measured = {}
    for case in arguments.cases:
        found: dict[str, np.ndarray] = {}

        def run(name: str, case: str = case, found: dict[str, np.ndarray] = found) -> Seconds:
            seconds, found[name], _ = workers[name](case, "time")
            return Seconds(seconds)

        print(case, file=sys.stderr)
        work = workers["atlas"](case, "count")[2]
        workers["eager"](case, "warm")
        floor = work / gemm_rate(getattr(torch, arguments.dtype), device=arguments.device, clock=arguments.clock)
        seconds = alternate({name: partial(run, name) for name in VARIANTS}, arguments.repeats)
        found["atlas"] = found["atlas"][:, : found["eager"].shape[1]]
        worst = float(np.abs(found["atlas"] - found["eager"]).max() / np.abs(found["eager"]).max())
        measured[case] = Speed(seconds, worst, floor)
    for worker in workers.values():
        worker.end()
    return measured


def memory_child(arguments: argparse.Namespace) -> None:
    """Peak resident memory above the loaded model, in MiB, of one text or batch."""
    model, layers, width = load(arguments)
    run = VARIANTS[arguments.variant]
    samples, _ = texts("batch", model.config.vocab_size)
    run(model, samples[:1], (), probe_of(samples[:1], width, layers), 1)  # weights are mapped, buffers are made
    samples, shared = texts(arguments.case, model.config.vocab_size)
    at_once = CASES[arguments.case].at_once
    samples = samples[:at_once]
    probe = probe_of(samples, width, read_layer(arguments.case, layers, arguments.layer))
    reset_peak(arguments.device)
    before = peak_mib(arguments.device)
    run(model, samples, shared, probe, at_once)
    print(json.dumps({"added": peak_mib(arguments.device) - before}))


def memory(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """{case: {variant: MiB}}."""
    given = ["--model", arguments.model, "--threads", arguments.threads, "--dtype", arguments.dtype]
    given += ["--layer", arguments.layer, "--device", arguments.device]
    return {
        case: {
            variant: child(__file__, ["--variant", variant, "--case", case, *given], arguments.threads)["added"]
            for variant in VARIANTS
        }
        for case in arguments.cases
        if case != "alone"
    }


def main() -> int:
    parser = options(__doc__, "saliency")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--layer", type=int, default=CHOSEN, help="hidden state of the probe in whole and batch")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of ours; eager's: float32")
    parser.add_argument("--shared-memory", action="store_true", help="eager keeps freed memory too")
    parser.add_argument("--variant", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        memory_child(arguments)
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    mib = {} if arguments.skip_memory else memory(arguments)
    rows = []
    for case, (seconds, worst, floor) in speed(arguments).items():
        tokens, shared, number, _ = CASES[case]
        own: dict[str, Any] = {"ours_seconds": mean(seconds["atlas"]), "published_seconds": mean(seconds["eager"])}
        own |= {"floor_seconds": floor, "agreement": worst}
        note = (
            f"{number} text(s) of {tokens} tokens, {shared} shared, {arguments.threads} thread(s), {arguments.device}"
        )
        times = ratio(seconds["eager"], seconds["atlas"])
        rows.append(row(f"saliency {case}: speed", times, bar_on(arguments.device, BARS[case][0]), **own, note=note))
        if case in mib:
            held: dict[str, Any] = {"ours_mib": mib[case]["atlas"], "published_mib": mib[case]["eager"]}
            less = held["published_mib"] / held["ours_mib"]
            rows.append(
                row(
                    f"saliency {case}: memory of eager over ours",
                    less,
                    bar_on(arguments.device, BARS[case][1]),
                    **held,
                    note=note,
                )
            )
        rows.append(row(f"saliency {case}: difference", worst, 1e-4, most=True))
    return finish(rows, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
