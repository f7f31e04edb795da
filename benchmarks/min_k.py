"""Min-K% of answers: this workflow against the published way, side by side in one run.

    python benchmarks/min_k.py [--model results/models/smollm2-135m-instruct] [--data data/depth/depth.jsonl]

Speed, on the first 128 answers of the data: `published` runs one text per forward, takes a full log-softmax and loops
over the tokens in Python (as the code of Shi et al. 2024); `bare` is the model's own forward on the batches of this
workflow, whole texts and nothing else; `atlas` is the workflow's extraction, what all texts begin with run once. The
texts are worked off in slices, each variant on every slice in turn, so that a machine that is busy for a while slows
all of them down alike; seconds are sums over slices.

Memory, at vocabulary 49,152, T = 1,024 and batch 4: peak over the loaded model of `atlas` and of `full_logits` (the
batch's logits, their log-softmax and a gather), each in a process of its own.

Writes results/benchmarks/min_k.csv. Exits non-zero where a bar is missed: atlas faster than
published, at most 1.2 x bare, full_logits at least 5 x the memory of atlas, Min-K% equal to 1e-4.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from side_by_side import (
    ROOT,
    bar_on,
    child,
    finish,
    gemm_rate,
    operations,
    options,
    peak_mib,
    reset_peak,
    row,
    timer,
)

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from transformers import PreTrainedModel

    from atlas.analyses.mink.scored_texts import ScoredText
    from atlas.models.shared_prefix import Shared

K = 20


class Speed(TypedDict):
    """Seconds over all texts, by variant, and the floor; `difference` is the largest of Min-K%."""

    texts: int
    tokens: int
    published: float
    bare: float
    atlas: float
    floor: float
    difference: float


def texts(model: Path, data: Path, number: int) -> list[ScoredText]:
    """The first answers of a depth data set, as the analysis asks for them."""
    import pandas as pd

    from atlas.analyses.mink.scored_texts import scored_texts, text_rows
    from atlas.data.chat import ChatSettings, Prompter
    from atlas.models.limits import read_limits
    from atlas.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model)
    rows = text_rows(pd.read_json(data, lines=True))[:number]
    prompter = Prompter(tokenizer, model.name, ChatSettings("2024-07-26", {}))
    limits = read_limits(model)
    return scored_texts(prompter, rows, "answer", template="chat", system=None, max_tokens=2048, limits=limits)[0]


def published(model: PreTrainedModel, sequences: Sequence[ScoredText]) -> dict[int, float]:
    """{number: Min-K%}: one text per forward, full log-softmax, a loop over tokens."""
    import numpy as np
    import torch

    found = {}
    for sequence in sequences:
        ids = torch.tensor([sequence.ids], device=model.device)
        with torch.no_grad():
            logits = model(ids, labels=ids)[1]
        probabilities = torch.nn.functional.log_softmax(logits[0, :-1], dim=-1)
        values: list[float] = []
        for i, token in enumerate(sequence.ids[1:]):
            if sequence.scored[i + 1]:
                values.append(probabilities[i, token].item())
        length = max(1, int(len(values) * K / 100))
        found[sequence.number] = -float(np.mean(np.sort(values)[:length]))
    return found


def bare(model: PreTrainedModel, sequences: Sequence[ScoredText], groups: Sequence[Sequence[int]]) -> None:
    """A forward pass of whole texts for each batch, and nothing else."""
    import torch

    for group in groups:
        width = max(len(sequences[i].ids) for i in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        for at, i in enumerate(group):
            ids[at, : len(sequences[i].ids)] = torch.tensor(sequences[i].ids)
        with torch.no_grad():
            model(ids.to(model.device), use_cache=False)


def atlas(
    model: PreTrainedModel,
    sequences: Sequence[ScoredText],
    groups: Sequence[Sequence[int]],
    shared: Shared = (),
) -> dict[int, float]:
    """{number: Min-K%} by the workflow's extraction; shared: the cache of what all texts begin with."""
    from atlas.analyses.mink import storage as logprob_layout
    from atlas.analyses.mink.extract import batch_logprobs
    from atlas.analyses.mink.metrics import min_k

    parts = []
    for group in groups:
        found = batch_logprobs(model, [sequences[i] for i in group], shared)
        parts.append({f"answer.{name}": array for name, array in found.items()})
    arrays = logprob_layout.merge(parts)
    return {number: min_k(tokens["lp"], K) for number, tokens in logprob_layout.split(arrays, "answer")}


def speed(arguments: argparse.Namespace) -> Speed:
    """Each variant on every slice in turn."""
    import torch

    from atlas.analyses.mink.extract import batch_logprobs, shared_context
    from atlas.models.loading import load_model
    from atlas.models.shared_prefix import prefix_cache
    from atlas.results.shards import batches

    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, device=arguments.device, dtype="float32")
    sequences = texts(arguments.model, arguments.data, arguments.texts)
    now = timer(arguments.clock, arguments.device)
    start = shared_context(sequences)
    groups = batches([len(sequence.ids) - start for sequence in sequences], arguments.batch_tokens)
    bare(model, sequences, groups[:1])  # warm up
    seconds = dict.fromkeys(("published", "bare", "atlas"), 0.0)
    values: dict[str, dict[int, float]] = {"published": {}, "atlas": {}}
    before = now()
    shared = prefix_cache(model, sequences[0].ids[:start])  # once for all texts, so it counts in full
    seconds["atlas"] += now() - before
    for turn, group in enumerate(groups):
        calls: dict[str, Callable[[], dict[int, float] | None]] = {
            "published": partial(published, model, [sequences[i] for i in group]),
            "bare": partial(bare, model, sequences, [group]),
            "atlas": partial(atlas, model, sequences, [group], shared),
        }
        order = list(calls)[turn % 3 :] + list(calls)[: turn % 3]
        for name in order:
            before = now()
            found = calls[name]()
            seconds[name] += now() - before
            if found is not None:
                values[name].update(found)
        so_far = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        print(f"{turn + 1}/{len(groups)} batches: {so_far}", flush=True)
    difference = max(abs(values["published"][number] - value) for number, value in values["atlas"].items())
    tokens = sum(len(sequence.ids) for sequence in sequences)
    part = [sequences[i] for i in groups[len(groups) // 2]]
    share = sum(len(sequence.ids) - start for sequence in part) / (tokens - start * len(sequences))
    work = operations(lambda: batch_logprobs(model, part, shared)) / share
    floor = work / gemm_rate(model.dtype, device=arguments.device, clock=arguments.clock)
    return {
        "texts": len(sequences),
        "tokens": tokens,
        "published": seconds["published"],
        "bare": seconds["bare"],
        "atlas": seconds["atlas"],
        "floor": floor,
        "difference": difference,
    }


def memory_child(arguments: argparse.Namespace) -> None:
    """Peak resident memory above the loaded model, in MiB, of one way to score a batch of random ids."""
    import torch

    from atlas.analyses.mink.extract import batch_logprobs
    from atlas.analyses.mink.scored_texts import ScoredText
    from atlas.models.loading import load_model

    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, device=arguments.device, dtype="float32")
    ids = torch.randint(0, model.config.vocab_size, (4, 1024), generator=torch.Generator().manual_seed(0))

    def run(ids: Int[torch.Tensor, "texts tokens"]) -> object:
        if arguments.variant == "atlas":
            scored = (True,) * ids.shape[1]
            return batch_logprobs(model, [ScoredText(i, tuple(row), scored) for i, row in enumerate(ids.tolist())])
        with torch.no_grad():
            away = ids.to(model.device)
            logits = model(away, use_cache=False).logits[:, :-1]
            return logits.log_softmax(-1).gather(2, away[:, 1:, None])

    run(ids[:1, :32])  # weights are mapped, buffers are made: not what is measured
    with torch.no_grad():
        model.base_model(input_ids=ids[:1, :32].to(model.device), use_cache=False)
    reset_peak(arguments.device)
    before = peak_mib(arguments.device)
    run(ids)
    print(json.dumps({"added": peak_mib(arguments.device) - before}))


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Peak MiB above the model, under the names of the csv's columns."""
    given = ["--model", arguments.model, "--device", arguments.device]
    found = {
        variant: child(__file__, ["--variant", variant, *given], arguments.threads)["added"]
        for variant in ("atlas", "full_logits")
    }
    return {"ours_mib": found["atlas"], "published_mib": found["full_logits"]}


def main() -> int:
    parser = options(__doc__, "min_k")
    parser.add_argument("--data", type=Path, default=ROOT / "data/depth/depth.jsonl")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--variant", choices=["atlas", "full_logits"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        memory_child(arguments)
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    mib, measured = memory(arguments), speed(arguments)
    note = f"{measured['texts']} texts, {measured['tokens']} tokens, {arguments.threads} thread(s), {arguments.device}"
    faster, most, less = (bar_on(arguments.device, bar) for bar in (1.0, 1.2, 5.0))
    rows = [
        row(
            "min_k over published", measured["published"] / measured["atlas"], faster, note=note,
            ours_seconds=measured["atlas"], published_seconds=measured["published"],
            floor_seconds=measured["floor"], agreement=measured["difference"],
        ),
        row(
            "min_k time against the bare forward", measured["atlas"] / measured["bare"], most, most=True,
            ours_seconds=measured["atlas"], simple_seconds=measured["bare"], floor_seconds=measured["floor"], note=note,
        ),
        row("min_k memory of full logits over ours", mib["published_mib"] / mib["ours_mib"], less, **mib,
            note="T = 1,024, batch 4, above the model"),
        row("min_k difference", measured["difference"], 1e-4, most=True),
    ]  # fmt: skip
    return finish(rows, arguments.output)


if __name__ == "__main__":
    sys.exit(main())
