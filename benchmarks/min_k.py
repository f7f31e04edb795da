"""Min-K% of answers: this workflow against the published way, side by side in one run.

    python benchmarks/min_k.py [--model results/models/smollm2-135m-instruct] [--data data/depth/depth.jsonl]

Speed, on the first 256 answers of the data: `published` runs one text per forward, takes a full log-softmax and loops
over the tokens in Python (as the code of Shi et al. 2024); `bare` is the model's own forward on the batches of this
workflow, nothing else; `atlas` is the workflow's extraction. The texts are worked off in slices, each variant on every
slice in turn, so that a machine that is busy for a while slows all of them down alike; seconds are sums over slices.

Memory, at vocabulary 49,152, T = 1,024 and batch 4: peak over the loaded model of `atlas` and of `full_logits` (the
batch's logits, their log-softmax and a gather), each in a process of its own.

Writes results/benchmarks/min_k.csv (measure, value, bar, met). Exits non-zero where a bar is missed: atlas faster than
published, at most 1.2 x bare, full_logits at least 5 x the memory of atlas, Min-K% equal to 1e-4.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
BARS = {"over_published": 1.0, "over_bare": 1.2, "memory_ratio": 5.0, "difference": 1e-4}
K = 20


def texts(model, data, number):
    import pandas as pd

    from atlas.data.scored_texts import scored_texts, text_rows
    from atlas.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model)
    rows = text_rows(pd.read_json(data, lines=True))[:number]
    return scored_texts(tokenizer, rows, "answer", template="chat", system=None, max_tokens=2048)[0]


def published(model, sequences):
    """{number: Min-K%}: one text per forward, full log-softmax, a loop over tokens."""
    import numpy as np
    import torch

    found = {}
    for sequence in sequences:
        ids = torch.tensor([sequence.ids])
        with torch.no_grad():
            logits = model(ids, labels=ids)[1]
        probabilities = torch.nn.functional.log_softmax(logits[0, :-1], dim=-1)
        values = []
        for i, token in enumerate(sequence.ids[1:]):
            if sequence.scored[i + 1]:
                values.append(probabilities[i, token].item())
        length = max(1, int(len(values) * K / 100))
        found[sequence.number] = -float(np.mean(np.sort(values)[:length]))
    return found


def bare(model, sequences, groups):
    import torch

    for group in groups:
        width = max(len(sequences[i].ids) for i in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        for row, i in enumerate(group):
            ids[row, : len(sequences[i].ids)] = torch.tensor(sequences[i].ids)
        with torch.no_grad():
            model(ids, use_cache=False)


def atlas(model, sequences, groups):
    """{number: Min-K%} by the workflow's extraction."""
    from atlas.analyses import logprob_layout
    from atlas.analyses.logprob_extraction import batch_logprobs
    from atlas.analyses.min_k import min_k

    parts = []
    for group in groups:
        found = batch_logprobs(model, [sequences[i] for i in group])
        parts.append({f"answer.{name}": array for name, array in found.items()})
    arrays = logprob_layout.merge(parts)
    return {number: min_k(tokens["lp"], K) for number, tokens in logprob_layout.split(arrays, "answer")}


def speed(arguments):
    import torch

    from atlas.analyses.shards import batches
    from atlas.models.loading import load_model

    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, device="cpu", dtype="float32")
    sequences = texts(arguments.model, arguments.data, arguments.texts)
    groups = batches([len(sequence.ids) for sequence in sequences], arguments.batch_tokens)
    bare(model, sequences, groups[:1])  # warm up
    seconds, values = dict.fromkeys(("published", "bare", "atlas"), 0.0), {"published": {}, "atlas": {}}
    for turn, group in enumerate(groups):
        calls = {
            "published": lambda group=group: published(model, [sequences[i] for i in group]),
            "bare": lambda group=group: bare(model, sequences, [group]),
            "atlas": lambda group=group: atlas(model, sequences, [group]),
        }
        order = list(calls)[turn % 3 :] + list(calls)[: turn % 3]
        for name in order:
            start = time.process_time() if arguments.clock == "cpu" else time.perf_counter()
            found = calls[name]()
            stop = time.process_time() if arguments.clock == "cpu" else time.perf_counter()
            seconds[name] += stop - start
            if found is not None:
                values[name].update(found)
        so_far = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        print(f"{turn + 1}/{len(groups)} batches: {so_far}", flush=True)
    difference = max(abs(values["published"][number] - value) for number, value in values["atlas"].items())
    tokens = sum(len(sequence.ids) for sequence in sequences)
    return {
        "texts": len(sequences),
        "tokens": tokens,
        **{f"seconds_{name}": value for name, value in seconds.items()},
        "over_published": seconds["atlas"] / seconds["published"],
        "over_bare": seconds["atlas"] / seconds["bare"],
        "difference": difference,
    }


def memory_child(arguments):
    """Peak resident memory above the loaded model, in MiB, of one way to score a batch of random ids."""
    import torch
    from column_statistics import peak_mib, reset_peak

    from atlas.analyses.logprob_extraction import batch_logprobs
    from atlas.data.scored_texts import ScoredText
    from atlas.models.loading import load_model

    torch.set_num_threads(arguments.threads)
    model = load_model(arguments.model, device="cpu", dtype="float32")
    ids = torch.randint(0, model.config.vocab_size, (4, 1024), generator=torch.Generator().manual_seed(0))

    def run(ids):
        if arguments.variant == "atlas":
            scored = (True,) * ids.shape[1]
            return batch_logprobs(model, [ScoredText(i, tuple(row), scored) for i, row in enumerate(ids.tolist())])
        with torch.no_grad():
            logits = model(ids, use_cache=False).logits[:, :-1]
            return logits.log_softmax(-1).gather(2, ids[:, 1:, None])

    run(ids[:1, :32])  # weights are mapped, buffers are made: not what is measured
    with torch.no_grad():
        model.base_model(input_ids=ids[:1, :32], use_cache=False)
    reset_peak()
    before = peak_mib()
    run(ids)
    print(json.dumps({"added": peak_mib() - before}))


def memory(arguments):
    found = {}
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    for variant in ("atlas", "full_logits"):
        command = [sys.executable, __file__, "--variant", variant, "--model", str(arguments.model)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found[f"mib_{variant}"] = json.loads(done.stdout.splitlines()[-1])["added"]
    return {**found, "memory_ratio": found["mib_full_logits"] / found["mib_atlas"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "results/models/smollm2-135m-instruct")
    parser.add_argument("--data", type=Path, default=ROOT / "data/depth/depth.jsonl")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: for a machine that others use too"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks/min_k.csv")
    parser.add_argument("--variant", choices=["atlas", "full_logits"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        memory_child(arguments)
        return 0
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    measured = {**memory(arguments), **speed(arguments)}
    rows = []
    for measure, value in measured.items():
        bar = BARS.get(measure, "")
        met = "" if bar == "" else (value >= bar if measure == "memory_ratio" else value <= bar)
        rows.append({"measure": measure, "value": f"{value:.6g}", "bar": bar, "met": met})
        print(f"{measure:18} {value:12.6g}  {'' if bar == '' else f'bar {bar:g}: ' + ('met' if met else 'MISSED')}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output.with_suffix(".tmp")
    with temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, arguments.output)
    return 0 if all(row["met"] in ("", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
